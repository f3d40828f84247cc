"""What is asked of Redis before it is used, with a server that the test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from realtime_node.cluster.on_redis.continuity import Continuity
from realtime_node.cluster.on_redis.instruments import NoInstruments
from realtime_node.cluster.on_redis.introduction import Introduction, load_scripts
from realtime_node.cluster.on_redis.keys import Keys
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.cluster.on_redis.permissions import KEYED
from realtime_node.cluster.on_redis.script import ALL_SCRIPTS, PERMISSIONS, Script
from realtime_node.cluster.on_redis.traces import Traces
from realtime_node.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime_node.cluster.on_redis.link import Link


class _Link:
    def __init__(
        self,
        version: str = "7.0.0",
        run_id: str = "r1",
        policy: str = "noeviction",
        forbidden: tuple[bytes, ...] = (),
        known: Iterable[Script] = (),
    ) -> None:
        self.info = {
            b"server": f"# Server\r\nredis_version:{version}\r\nrun_id:{run_id}\r\n".encode(),
            b"memory": f"# Memory\r\nmaxmemory_policy:{policy}\r\n".encode(),
        }
        self.forbidden = forbidden
        self.known = {script.sha for script in known}
        self.loaded: list[Script] = []
        self.calls = 0

    async def call(self, *arguments: bytes, read: Callable[[object], object]) -> object:
        self.calls += 1
        match arguments[0]:
            case b"INFO":
                return read(self.info[arguments[1]])
            case b"GET":
                return read(b'{"format":1,"partitions":1}')
            case b"SCRIPT":
                return read([int(sha in self.known) for sha in arguments[2:]])
        return read(None)

    async def call_packed(self, packed: bytes, *, read: Callable[[object], object]) -> object:
        if packed == PERMISSIONS.pack_load():
            return read(PERMISSIONS.sha)
        assert PERMISSIONS.sha in packed, "nothing was joined yet, and more is asked"
        return read([b"OK", *(word for each in self.forbidden for word in (b"forbidden", each))])

    async def write(self, packed: list[bytes]) -> None:
        self.loaded += [script for script in ALL_SCRIPTS if script.pack_load() in packed]
        assert len(self.loaded) == len(packed)

    async def read(self) -> object:
        script = self.loaded[len(self.known & {script.sha for script in self.loaded})]
        self.known.add(script.sha)
        return script.sha


def _introduction(restarts: list[str]) -> Introduction:
    keys = Keys("realtime", 1)
    continuity = Continuity(
        keys,
        Traces(1),
        NoInstruments(),
        node_id=lambda: "a",
        is_absent=lambda _: False,
        on_rotated=lambda partition: restarts.append(f"rotated {partition}"),
        on_gone=lambda: restarts.append("gone"),
    )
    return Introduction(
        RedisOptions(),
        keys,
        continuity,
        (0,),
        on_restart=lambda partitions: restarts.append(f"restarted {partitions}"),
    )


async def _introduce(introduction: Introduction, link: _Link) -> None:
    await introduction.to_writes(cast("Link", link))


@pytest.mark.parametrize("version", ["6.2.14", "5.0.0"])
async def test_an_old_redis_is_refused(version: str) -> None:
    """Before Redis 7 inbox ids cannot be contiguous; the error names both versions."""
    with pytest.raises(ConfigError, match=rf"is {version}: Redis 7 or newer, or Valkey"):
        await _introduce(_introduction([]), _Link(version))


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.0.0"])
async def test_a_redis_from_7_on_is_used(version: str) -> None:
    """Newer ones, and Valkey, which calls itself 7.2, are welcome; all scripts are loaded."""
    link = _Link(version)
    await _introduce(_introduction([]), link)
    assert link.loaded == list(ALL_SCRIPTS)


async def test_only_what_a_server_does_not_know_is_loaded() -> None:
    """A connection to a server that has the scripts costs one question, not all their sources."""
    whole = _Link(known=ALL_SCRIPTS)
    await load_scripts(cast("Link", whole))
    assert (whole.calls, whole.loaded) == (1, [])
    lacking = _Link(known=ALL_SCRIPTS[2:])
    await load_scripts(cast("Link", lacking))
    assert (lacking.calls, lacking.loaded) == (1, list(ALL_SCRIPTS[:2]))


async def test_an_evicting_redis_is_refused() -> None:
    """An evicted interest would be silence."""
    with pytest.raises(ConfigError, match="maxmemory-policy volatile-lru"):
        await _introduce(_introduction([]), _Link(policy="volatile-lru"))


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        (
            (b"hset realtime:x x x", b"memory usage realtime:x", b"time"),
            r"hset, memory\|usage, time\. .* ACL SETUSER default \+hset \+memory\|usage \+time$",
        ),
        (
            tuple(command.replace("@", "realtime:x").encode() for command in KEYED),
            r"the keys below realtime:\. Allow it: ACL SETUSER default ~realtime:\*$",
        ),
    ],
    ids=["commands", "keys"],
)
async def test_what_the_acl_lacks_is_named(forbidden: tuple[bytes, ...], message: str) -> None:
    """Every command that is forbidden is told at once, with what allows it; or else the keys."""
    with pytest.raises(ConfigError, match=message):
        await _introduce(_introduction([]), _Link(forbidden=forbidden))


async def test_another_process_is_a_restart() -> None:
    """A changed run id is told, the first one and a mere reconnect are not."""
    restarts: list[str] = []
    introduction = _introduction(restarts)
    for run_id in ("r1", "r1"):
        await _introduce(introduction, _Link(run_id=run_id))
    assert restarts == []
    await _introduce(introduction, _Link(run_id="r2"))
    assert restarts == ["restarted (0,)"]
