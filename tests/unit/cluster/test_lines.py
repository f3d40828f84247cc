"""Lines: whatever has to be sent again, nothing of its channel overtakes it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.cluster.on_redis.lines import Lines, Place
from realtime_node.errors import BackplaneUnavailableError

if TYPE_CHECKING:
    from realtime_node.cluster.on_redis.replies import Reply

_AGAIN = b"AGAIN"
_OK = b"OK"


class _Server:
    """Executes what is queued, in that order, when it is told to."""

    def __init__(self) -> None:
        self.queue: deque[tuple[int, asyncio.Future[Reply]]] = deque()
        self.executed: list[int] = []

    def send(self, number: int) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.queue.append((number, future))
        return future

    def answer(self, reply: bytes) -> None:
        """Answer what was sent first."""
        while self.queue:
            number, future = self.queue.popleft()
            if future.done():
                continue
            if reply == _OK:
                self.executed.append(number)
            future.set_result(reply)
            return

    def refuse(self) -> None:
        """Answer that all that is queued has to be sent again."""
        for _ in range(len(self.queue)):
            self.answer(_AGAIN)


def _lines(limit: int = 1000, limit_bytes: int = 1000) -> Lines:
    return Lines(limit=limit, limit_bytes=limit_bytes, refused=lambda: None)


async def _publish(lines: Lines, server: _Server, number: int, channel: str = "news") -> None:
    place = lines.enter(channel, 1)
    try:
        while await place.run(lambda: server.send(number)) == _AGAIN:
            place.come_back()
            for _ in range(number % 3):
                await asyncio.sleep(0)  # what it does before it is sent again takes as it takes
    finally:
        place.leave()


async def _settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 0)),
        st.tuples(st.just("refuse"), st.integers(0, 0)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("give up"), st.integers(0, 20)),
        st.tuples(st.just("settle"), st.integers(0, 0)),
    ),
    max_size=40,
)


@given(_STEPS)
def test_whatever_comes_back_the_order_holds(steps: list[tuple[str, int]]) -> None:
    """However often all that is out comes back, each is executed once and in its order."""

    async def play() -> None:
        lines, server = _lines(), _Server()
        tasks: list[asyncio.Task[None]] = []
        given_up: set[int] = set()
        for step, number in steps:
            if step == "publish":
                tasks.append(asyncio.create_task(_publish(lines, server, len(tasks))))
                await asyncio.sleep(0)
            elif step == "refuse":
                server.refuse()
                await _settle()
            elif step == "answer":
                for _ in range(number):
                    server.answer(_OK)
            elif step == "give up" and number < len(tasks) and tasks[number].cancel():
                given_up.add(number)
            else:
                await _settle()
        while not all(task.done() for task in tasks):
            server.answer(_OK)
            await _settle()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert server.executed == sorted(set(server.executed))
        assert set(range(len(tasks))) - given_up <= set(server.executed)
        assert len(lines) == 0

    asyncio.run(play())


async def _come_back(lines: Lines, server: _Server, *, size: int = 1) -> Place:
    """A publish, number 0, that has to be sent again."""
    first = lines.enter("news", size)
    answer = asyncio.create_task(first.run(lambda: server.send(0)))
    await _settle()
    server.refuse()
    assert await answer == _AGAIN
    first.come_back()
    return first


async def test_what_comes_later_waits_for_what_came_back() -> None:
    """While one is prepared to be sent again nothing of its channel is sent, of others it is."""
    lines, server = _lines(), _Server()
    first = await _come_back(lines, server)
    later = asyncio.create_task(_publish(lines, server, 1))
    other = asyncio.create_task(_publish(lines, server, 2, "other"))
    await _settle()
    assert [number for number, _ in server.queue] == [2]
    again = asyncio.create_task(first.run(lambda: server.send(0)))
    await _settle()
    assert [number for number, _ in server.queue] == [2, 0, 1]
    for _ in range(3):
        server.answer(_OK)
    await asyncio.gather(again, later, other)
    first.leave()
    assert len(lines) == 0


async def test_those_behind_one_that_fails_go_on() -> None:
    """A publish that is given up lets the rest of the line be sent."""
    lines, server = _lines(), _Server()
    first = await _come_back(lines, server)
    later = asyncio.create_task(_publish(lines, server, 1))
    await _settle()
    assert not server.queue
    first.leave()
    assert [number for number, _ in server.queue] == [1]
    server.answer(_OK)
    await later
    assert server.executed == [1]


@pytest.mark.parametrize(("limit", "limit_bytes"), [(2, 1000), (1000, 20)])
async def test_a_full_line_refuses_at_once(limit: int, limit_bytes: int) -> None:
    """Beyond its bounds nothing is let in; what was sent before is never refused."""
    refusals: list[None] = []
    lines = Lines(limit=limit, limit_bytes=limit_bytes, refused=lambda: refusals.append(None))
    server = _Server()
    first = await _come_back(lines, server, size=10)

    async def later(number: int) -> Reply:
        place = lines.enter("news", 10)
        try:
            return await place.run(lambda: server.send(number))
        finally:
            place.leave()

    waiting = [asyncio.create_task(later(number)) for number in (1, 2)]
    await _settle()
    with pytest.raises(BackplaneUnavailableError, match="2 commands of 20 bytes wait"):
        await later(3)
    assert len(refusals) == 1
    again = asyncio.create_task(first.run(lambda: server.send(0)))
    await _settle()
    for _ in range(3):
        server.answer(_OK)
    await asyncio.gather(again, *waiting)
    first.leave()
    assert server.executed == [0, 1, 2]
    assert len(lines) == 0
