"""Lua scripts as files: loaded once, called by their hash.

Every script is one file under `scripts/` whose header names its KEYS and ARGV. A call is packed
into bytes at once, so that nothing is left to do for it when its pipeline goes out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final, cast

import hiredis

Argument = bytes | str | int

# Lua in Redis knows no modules: such a line is replaced by the file of functions that it names.
_SHARED_HERE: Final = re.compile(rb"^-- @([a-z]+)$", re.MULTILINE)


def pack(*arguments: Argument) -> bytes:
    """Encode one command in Redis' protocol."""
    return cast("bytes", hiredis.pack_command(arguments))  # type: ignore[arg-type] # its stub names 1-tuples


def pack_parts(*arguments: Argument) -> bytes:
    """Encode arguments as they stand within a command, for calls that are joined of ready parts."""
    packed = pack(*arguments)
    return packed[packed.index(b"\n") + 1 :]


def _read(name: str) -> bytes:
    return resources.files(__package__).joinpath("scripts", f"{name}.lua").read_bytes()


class Script:
    """A Lua script known to the server by its hash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source: Final = _SHARED_HERE.sub(
            lambda line: _read(f"shared/{line[1].decode()}"), _read(name)
        )
        # SHA-1 is how Redis names scripts.
        self.sha: Final = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def pack(self, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bytes:
        """Encode a call by hash; it fails with NOSCRIPT if the server forgot the script."""
        return pack(b"EVALSHA", self.sha, len(keys), *keys, *arguments)

    def pack_head(self, keys: int, arguments: int) -> bytes:
        """Encode how such a call begins; so many keys and arguments have to follow as parts."""
        head = (b"EVALSHA", self.sha, keys)
        return b"*%d\r\n%b" % (len(head) + keys + arguments, pack_parts(*head))

    def pack_with_source(self, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bytes:
        """Encode a call that cannot fail with NOSCRIPT, for calls too rare to care for size."""
        return pack(b"EVAL", self.source, len(keys), *keys, *arguments)

    def pack_load(self) -> bytes:
        """Encode the command that makes the script known to the server."""
        return pack(b"SCRIPT", b"LOAD", self.source)


ANNOUNCE: Final = Script("announce")
BURY: Final = Script("bury")
CHANGE_BUDGET: Final = Script("change_budget")
CLAIM_RESTART: Final = Script("claim_restart")
CONTROL: Final = Script("control")
DECLARE_DEAD: Final = Script("declare_dead")
FORGET: Final = Script("forget")
HEARTBEAT: Final = Script("heartbeat")
HISTORY: Final = Script("history")
INSPECT: Final = Script("inspect")
LEASE_CONNECTS: Final = Script("lease_connects")
LEASE_RECONNECTS: Final = Script("lease_reconnects")
LEAVE: Final = Script("leave")
NODES: Final = Script("nodes")
PERMISSIONS: Final = Script("permissions")
PRESENCE_ADD: Final = Script("presence_add")
PRESENCE_LAPSE: Final = Script("presence_lapse")
PRESENCE_PAGE: Final = Script("presence_page")
PRESENCE_REMOVE: Final = Script("presence_remove")
PRESENCE_STATS: Final = Script("presence_stats")
PUBLISH: Final = Script("publish")
REGISTER: Final = Script("register")
REMOVE_HISTORY: Final = Script("remove_history")
RESOLVE: Final = Script("resolve")
ROTATE: Final = Script("rotate")
SESSION_CLAIM: Final = Script("session_claim")
SESSION_ORPHAN: Final = Script("session_orphan")
SESSION_OWNER: Final = Script("session_owner")
SESSION_RELEASE: Final = Script("session_release")
SESSION_TELL: Final = Script("session_tell")
SESSION_WRITE: Final = Script("session_write")
SUBSCRIBE: Final = Script("subscribe")
UNSUBSCRIBE: Final = Script("unsubscribe")
USER_SUBSCRIBE: Final = Script("user_subscribe")
USER_SUBSCRIPTIONS: Final = Script("user_subscriptions")
USER_UNSUBSCRIBE: Final = Script("user_unsubscribe")
VERDICT_FIND: Final = Script("verdict_find")
VERDICT_FORGET: Final = Script("verdict_forget")
VERDICT_KEEP: Final = Script("verdict_keep")
VERDICT_PROLONG: Final = Script("verdict_prolong")
VERDICT_REVOKE: Final = Script("verdict_revoke")
VERIFY: Final = Script("verify")

ALL_SCRIPTS: Final = (
    ANNOUNCE,
    BURY,
    CHANGE_BUDGET,
    CLAIM_RESTART,
    CONTROL,
    DECLARE_DEAD,
    FORGET,
    HEARTBEAT,
    HISTORY,
    INSPECT,
    LEASE_CONNECTS,
    LEASE_RECONNECTS,
    LEAVE,
    NODES,
    PERMISSIONS,
    PRESENCE_ADD,
    PRESENCE_LAPSE,
    PRESENCE_PAGE,
    PRESENCE_REMOVE,
    PRESENCE_STATS,
    PUBLISH,
    REGISTER,
    REMOVE_HISTORY,
    RESOLVE,
    ROTATE,
    SESSION_CLAIM,
    SESSION_ORPHAN,
    SESSION_OWNER,
    SESSION_RELEASE,
    SESSION_TELL,
    SESSION_WRITE,
    SUBSCRIBE,
    UNSUBSCRIBE,
    USER_SUBSCRIBE,
    USER_SUBSCRIPTIONS,
    USER_UNSUBSCRIBE,
    VERDICT_FIND,
    VERDICT_FORGET,
    VERDICT_KEEP,
    VERDICT_PROLONG,
    VERDICT_REVOKE,
    VERIFY,
)
