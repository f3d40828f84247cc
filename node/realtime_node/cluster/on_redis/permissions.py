"""What Redis has to have, and our user of it be allowed, and whether that is so.

Most commands are run by scripts and some of them rarely, so an ACL that lacks one would be noticed
late, by a client. Therefore Redis is asked for all of them before a node joins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from redis.exceptions import ResponseError

from realtime_node.errors import ConfigError

from .link import Link
from .options import RedisOptions
from .replies import data, texts
from .script import PERMISSIONS

KEYLESS: Final = ("client setname x", "script exists x", "script load x", "time")
KEYED: Final = (
    "del @",
    "eval x 1 @",
    "evalsha x 1 @",
    "exists @",
    "get @",
    "hdel @ x",
    "hexists @ x",
    "hget @ x",
    "hgetall @",
    "hincrby @ x 1",
    "hkeys @",
    "hlen @",
    "hmget @ x",
    "hscan @ 0",
    "hset @ x x",
    "memory usage @",
    "persist @",
    "pexpire @ 1",
    "sadd @ x",
    "set @ x",
    "srandmember @ 1",
    "srem @ x",
    "xadd @ * x x",
    "xlen @",
    "xrange @ - +",
    "xread streams @ 0",
    "xrevrange @ + -",
    "xtrim @ maxlen 1",
    "zadd @ 1 x",
    "zrangebyscore @ 0 1",
    "zrem @ x",
    "zscore @ x",
)
"""Commands as they are used, `@` in the place of a key of ours."""
_WISHED: Final = ("info",)
"""Without it a node works, but sees neither the version nor the eviction nor restarts of Redis."""
_UNKNOWN_COMMAND: Final = re.compile(r"unknown command ['`\"]?([\w|-]+)", re.IGNORECASE)
_CONTAINERS: Final = frozenset({"client", "memory", "script"})


def grants(commands: Iterable[str] = (*KEYLESS, *KEYED, *_WISHED)) -> list[str]:
    """Return what an ACL rule allows commands with, all that a node needs: `+hset` and so on."""
    return sorted(f"+{_name(command)}" for command in commands)


async def check_permissions(link: Link, options: RedisOptions) -> None:
    """Raise `ConfigError` that names what our user is not allowed, and how it will be.

    It also names what this Redis does not have: `rename-command` hides commands from everybody.
    """
    asked = [*KEYLESS, *(command.replace("@", f"{options.prefix}:x") for command in KEYED)]
    await link.call_packed(PERMISSIONS.pack_load(), read=data)
    _, *found = await link.call_packed(PERMISSIONS.pack((), asked), read=texts)
    by_reason = list(zip(found[::2], found[1::2], strict=True))
    if unknown := [_name(command) for reason, command in by_reason if reason == "unknown"]:
        raise lacks(unknown, options)
    forbidden = [command for reason, command in by_reason if reason == "forbidden"]
    if not forbidden:
        return
    if len(forbidden) >= len(KEYED) and not set(forbidden) & set(KEYLESS):
        missing, rule = f"the keys below {options.prefix}:", f"~{options.prefix}:*"
    else:
        missing, rule = ", ".join(map(_name, forbidden)), " ".join(grants(forbidden))
    raise ConfigError(
        f"Redis at {options.server_name} forbids its user {options.user_in_use} {missing}."
        f" Allow it: ACL SETUSER {options.user_in_use} {rule}"
    )


def missing_command(error: BaseException | None) -> str:
    """Return the command that this Redis says it does not have; empty: it is another error."""
    while error is not None:  # redis-py may wrap it in a `ConnectionError`
        if isinstance(error, ResponseError) and (found := _UNKNOWN_COMMAND.search(str(error))):
            return found[1]
        error = error.__cause__
    return ""


def lacks(commands: Iterable[str], options: RedisOptions) -> ConfigError:
    """Return the error that names commands that this Redis does not have."""
    names = ", ".join(sorted({command.lower() for command in commands}))
    return ConfigError(
        f"Redis at {options.server_name} does not have what a node needs: {names}."
        " Does rename-command in its configuration hide it?"
        " Forbid commands with an ACL instead, see docs/redis.md"
    )


def _name(command: str) -> str:
    """As ACL rules name it: `memory|usage`."""
    first, second = (*command.split(), "")[:2]
    return f"{first}|{second}" if first in _CONTAINERS else first
