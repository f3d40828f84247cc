"""The lean client does as the SDKs do; a scripted server sees how it comes, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from tests.load.storm.backoff import Backoff
from tests.load.storm.client import Client, State
from tests.load.storm.messages import AFFECTED, CALM, UNAFFECTED, new_second
from tests.support import raw_websocket
from tests.support.conditions import eventually

CHANNEL = "load:1"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def _frame(*messages: object) -> bytes:
    lines = b"\n".join(map(msgspec.json.encode, messages))
    return raw_websocket.frame(lines, masked=False)


def _close(code: int) -> bytes:
    return raw_websocket.frame(code.to_bytes(2), raw_websocket.CLOSE, masked=False)


def _publication(offset: int) -> dict[str, object]:
    return {"offset": offset, "data": {"n": offset, "t": 1}}


def _push(offset: int) -> dict[str, object]:
    return {"push": {"channel": CHANNEL, "pub": _publication(offset)}}


def _joined(offset: int, *missed: int, recovered: bool = False) -> bytes:
    subscribe = {
        "epoch": "e",
        "offset": offset,
        "recovered": recovered,
        "publications": [_publication(each) for each in missed],
    }
    return _frame({"id": 1, "connect": {"client": "c"}}, {"id": 2, "subscribe": subscribe})


class _World:
    """What a member is for its clients."""

    def __init__(self, node: int) -> None:
        self.second = new_second()
        self.part = CALM
        self.here = 0
        self.recovered = 0
        self.back_s: list[float] = []
        self.ended: Counter[str] = Counter()
        self.backoff = Backoff(0.005, 0.01)
        self._node = node

    def choose(self) -> int:
        return self._node


class _Script:
    """A server that answers each connection by the next of its lines.

    A line is what follows the request for an upgrade, then what follows the client's commands; the
    connection then stays until the script is over.
    """

    def __init__(self, *lines: tuple[bytes, ...]) -> None:
        self.commands: list[list[dict[str, object]]] = []
        self.answers: list[bytes] = []
        self._lines = list(lines)
        self._over = asyncio.Event()
        self._playing: set[asyncio.Task[None]] = set()

    def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._play(reader, writer))
        self._playing.add(task)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = self._lines.pop(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(line[0])
            if len(line) > 1:
                self.commands.append([msgspec.json.decode(c) for c in await self._read(reader)])
                writer.write(line[1])
                self.answers += await self._read(reader)
            await self._over.wait()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> list[bytes]:
        """Return the lines of a frame, which the client masks with zeros."""
        length = (await reader.readexactly(2))[1] & 0x7F
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        assert await reader.readexactly(4) == bytes(4)
        return (await reader.readexactly(length)).split(b"\n")

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[Client, _World]]:
        server = await asyncio.start_server(self.play, "127.0.0.1", 0)
        world = _World(server.sockets[0].getsockname()[1])
        client = Client(world, 1, "my token", CHANNEL)
        client.come()
        try:
            yield client, world
        finally:
            client.end()
            self._over.set()
            await asyncio.gather(*self._playing)
            server.close()
            await server.wait_closed()


def _counts(times: dict[str, dict[int, list[float]]]) -> dict[str, int]:
    return {reason: sum(map(len, nodes.values())) for reason, nodes in times.items()}


def _is(client: Client, state: State) -> Callable[[], bool]:
    return lambda: client.state is state


async def test_who_is_refused_comes_again() -> None:
    """A 503 and an error 111 are each followed by another attempt, which may succeed."""
    later = {"id": 1, "error": {"code": 111, "message": "later", "temporary": True}}
    script = _Script((REFUSED,), (UPGRADED, _frame(later)), (UPGRADED, _joined(4)))
    async with script.client() as (client, world):
        await eventually(_is(client, State.HERE))
        assert _counts(world.second.refusals) == {"503": 1, "error 111": 1}
        assert world.here == client.joins == 1
        assert world.back_s == []
    assert script.commands[-1] == [
        {"id": 1, "connect": {"token": "my token"}},
        {"id": 2, "subscribe": {"channel": CHANNEL}},
    ]


@pytest.mark.parametrize("code", [3001, 3008])
async def test_who_lost_its_connection_recovers(code: int) -> None:
    """It subscribes from its position, and goes on with what it missed."""
    first = _joined(4) + _frame(_push(5), _push(6)) + _close(code)
    again = _joined(8, 7, 8, recovered=True) + _frame(_push(9))
    script = _Script((UPGRADED, first), (UPGRADED, again))
    async with script.client() as (client, world):
        await eventually(lambda: client.following.count == 5)
        assert client.state is State.HERE
        assert (world.here, client.joins, world.recovered, len(world.back_s)) == (1, 2, 2, 1)
        (stretch,) = client.following.stretches
        assert (stretch.start, stretch.end, stretch.skipped) == (4, 9, 0)
        assert list(world.second.closes) == [code]
    recover = {"channel": CHANNEL, "recover": True, "epoch": "e", "offset": 6}
    assert script.commands[1][1] == {"id": 2, "subscribe": recover}


async def test_who_is_told_to_stay_away_does() -> None:
    """After a code that forbids it a client never comes back, and is counted."""
    script = _Script((UPGRADED, _joined(4) + _close(3500)))
    async with script.client() as (client, world):
        await eventually(_is(client, State.ENDED))
        assert world.ended == {"closed with 3500": 1}
        assert world.here == 0


async def test_latencies_are_filed_by_whether_a_client_was_affected() -> None:
    """After the fault, who has lost its connection is told from who has not."""
    first = _joined(4) + _frame(_push(5))
    again = _joined(5, recovered=True) + _frame(_push(6))
    script = _Script((UPGRADED, first), (UPGRADED, again))
    async with script.client() as (client, world):
        await eventually(lambda: client.following.count == 1)
        world.part = UNAFFECTED
        client.leave()
        await eventually(lambda: client.following.count == 2)
        filed = {group: sum(bins.values()) for group, bins in world.second.latencies.items()}
        assert (filed[CALM], filed[UNAFFECTED], filed[AFFECTED]) == (1, 0, 1)


async def test_a_subscription_that_is_taken_away_is_asked_for_again() -> None:
    """On the same connection, from the position that the client has."""
    taken = {"push": {"channel": CHANNEL, "unsubscribe": {"code": 2500, "reason": "gap"}}}
    script = _Script((UPGRADED, _joined(4) + _frame(_push(5)) + _frame(taken)))
    async with script.client() as (client, _):
        await eventually(lambda: script.answers)
        assert client.state is State.HERE
    recover = {"channel": CHANNEL, "recover": True, "epoch": "e", "offset": 5}
    assert [msgspec.json.decode(each) for each in script.answers] == [
        {"id": 2, "subscribe": recover}
    ]


async def test_a_ping_is_answered() -> None:
    """Else a node would close the connection."""
    script = _Script((UPGRADED, _joined(4) + raw_websocket.frame(b"{}", masked=False)))
    async with script.client():
        await eventually(lambda: script.answers == [b"{}"])


async def test_a_node_that_is_not_there_is_unreachable() -> None:
    """A refused connection is an attempt that came to nothing."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    world = _World(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    client = Client(world, 1, "t", CHANNEL)
    client.come()
    await eventually(lambda: _counts(world.second.refusals).get("unreachable", 0) >= 2)
    client.end()
