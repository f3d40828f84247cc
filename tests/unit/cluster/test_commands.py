"""The pipelined connection, on links that the test plays: order, deadlines, bounds, retries."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from realtime_node.cluster.on_redis.commands import PIPELINE_LIMIT, Commands
from realtime_node.cluster.on_redis.entries import UnreadableEntryError
from realtime_node.cluster.on_redis.instruments import NoInstruments
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.cluster.on_redis.refusals import (
    NotSentError,
    RefusedForNowError,
    ScriptMissingError,
    UnansweredError,
)
from realtime_node.cluster.on_redis.replies import as_is
from realtime_node.errors import BackplaneError, BackplaneUnavailableError
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime_node.cluster.on_redis.link import Link
    from realtime_node.cluster.on_redis.replies import Reply


class _Commands(Commands):
    """Commands whose replies are taken as they are."""

    def execute(
        self, packed: bytes, deadline: float | None = None, **more: Any
    ) -> asyncio.Future[Any]:
        return super().execute(packed, deadline, **{"read": as_is, **more})


_OPTIONS = RedisOptions(command_timeout_s=0.3, reconnect_max_delay_s=0.01)


class _Link:
    """A connection whose server echoes each command, unless told otherwise."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._replies: list[bytes] = []
        self.is_broken = False

    async def check(self) -> None:
        if self.is_broken:
            raise RedisConnectionError("hung up")

    async def write(self, packed: list[bytes]) -> None:
        self._server.pipelines.append(packed)
        self._replies = list(packed)

    async def read(self) -> Reply:
        await self._server.answering.wait()
        command = self._replies.pop(0)
        failures = self._server.failures.get(command)
        if failures:
            raise failures.pop(0)
        return command

    async def abort(self) -> None:
        self.is_broken = True


class _Server:
    def __init__(self) -> None:
        self.pipelines: list[list[bytes]] = []
        self.failures: dict[bytes, list[BaseException]] = {}
        self.answering = asyncio.Event()
        self.answering.set()
        self.links: list[_Link] = []
        self.is_down = False

    def fail(self, command: bytes, *failures: BaseException) -> None:
        """Answer a command so, each time it comes, before it is answered well."""
        self.failures[command] = list(failures)

    async def open(self, name: str) -> Link:
        assert name == "test"
        if self.is_down:
            raise OSError("nobody there")
        self.links.append(_Link(self))
        return self.links[-1]  # type: ignore[return-value] # it plays the part

    @property
    def received(self) -> list[bytes]:
        return [command for pipeline in self.pipelines for command in pipeline]


class _Refusals(NoInstruments):
    def __init__(self) -> None:
        self.count = 0

    def refused(self, connection: str) -> None:
        assert connection == "test"
        self.count += 1


@pytest.fixture
def server() -> _Server:
    """A server that answers."""
    return _Server()


async def _no_introduction(_: Link) -> None:
    pass


@pytest.fixture
async def make(server: _Server) -> AsyncIterator[Callable[..., _Commands]]:
    """Make commands on the server; they are closed in the end."""
    made: list[_Commands] = []

    def build(
        options: RedisOptions = _OPTIONS,
        *,
        repeats: int = 0,
        instruments: NoInstruments | None = None,
    ) -> _Commands:
        made.append(
            _Commands(
                "test",
                options,
                server.open,
                instruments or NoInstruments(),
                on_connected=_no_introduction,
                repeats=repeats,
            )
        )
        return made[-1]

    yield build
    for commands in made:
        await commands.close()


async def test_commands_of_one_pass_go_out_together(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """What is asked for within one pass of the loop is one pipeline, in order."""
    commands = make()
    await commands.start()
    asked = [b"%d" % number for number in range(10)]
    assert await asyncio.gather(*map(commands.execute, asked)) == asked
    assert server.pipelines == [asked]


async def test_commands_gather_while_a_pipeline_is_out(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """What is asked for meanwhile goes out next, at most so many at once."""
    commands = make()
    await commands.start()
    server.answering.clear()
    first = commands.execute(b"first")
    await eventually(lambda: server.pipelines)
    more = [commands.execute(b"%d" % number) for number in range(PIPELINE_LIMIT + 10)]
    server.answering.set()
    assert await first == b"first"
    await asyncio.gather(*more)
    assert [len(pipeline) for pipeline in server.pipelines] == [1, PIPELINE_LIMIT, 10]
    assert server.received[1:] == [b"%d" % number for number in range(PIPELINE_LIMIT + 10)]


async def test_a_write_is_sent_once(server: _Server, make: Callable[..., _Commands]) -> None:
    """When the connection is lost before the answer, a write's end is unknown and stays so."""
    commands = make()
    await commands.start()
    server.fail(b"b", RedisConnectionError("cut"))
    results = await asyncio.gather(
        *map(commands.execute, (b"a", b"b", b"c")), return_exceptions=True
    )
    assert results[0] == b"a"
    for result in results[1:]:
        assert isinstance(result, BackplaneUnavailableError)
        assert "may have been done" in str(result)
    assert await commands.execute(b"d") == b"d"
    assert server.received == [b"a", b"b", b"c", b"d"]
    assert len(server.links) == 2


async def test_what_waits_in_order_comes_back_when_what_was_before_it_is_lost(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """It was surely not sent, and who asked decides what goes first; the rest waits on."""
    commands = make()
    await commands.start()
    server.answering.clear()
    server.fail(b"a", RedisConnectionError("cut"))
    lost = commands.execute(b"a", in_order=True)
    await eventually(lambda: server.pipelines)
    waiting = commands.execute(b"b", in_order=True)
    other = commands.execute(b"c")
    server.answering.set()
    with pytest.raises(UnansweredError):
        await lost
    with pytest.raises(NotSentError):
        await waiting
    assert await other == b"c"
    assert server.received == [b"a", b"c"]


async def test_a_loss_of_something_else_sends_nothing_back(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """What waits in order waits on when nothing that has an order was lost."""
    commands = make()
    await commands.start()
    server.answering.clear()
    server.fail(b"a", RedisConnectionError("cut"))
    lost = commands.execute(b"a")
    await eventually(lambda: server.pipelines)
    waiting = commands.execute(b"b", in_order=True)
    server.answering.set()
    with pytest.raises(UnansweredError):
        await lost
    assert await waiting == b"b"


async def test_the_most_urgent_go_first_and_alone(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """Questions about what was lost go out highest first, and nothing else with them."""
    commands = make()
    await commands.start()
    server.answering.clear()
    out = commands.execute(b"out")
    await eventually(lambda: server.pipelines)
    waiting = commands.execute(b"waiting")
    urgent = [commands.execute(b"%d" % n, urgency=n) for n in (2, 1, 3)]
    server.answering.set()
    await asyncio.gather(out, waiting, *urgent)
    assert server.pipelines == [[b"out"], [b"3", b"2", b"1"], [b"waiting"]]


async def test_an_urgent_command_has_its_deadline_too(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """While there is no connection it fails when its time has come."""
    commands = make()
    await commands.start()
    server.is_down = True
    server.links[0].is_broken = True
    deadline = asyncio.get_running_loop().time() + 0.05
    with pytest.raises(BackplaneUnavailableError, match="nothing was sent"):
        await commands.execute(b"a", deadline, urgency=1)
    assert server.received == []


async def test_a_read_is_sent_once_again(server: _Server, make: Callable[..., _Commands]) -> None:
    """A read that a lost connection left unanswered is repeated, once and in its place."""
    commands = make(repeats=1)
    await commands.start()
    server.fail(b"b", RedisConnectionError("cut"))
    assert await asyncio.gather(*map(commands.execute, (b"a", b"b", b"c"))) == [b"a", b"b", b"c"]
    assert server.received == [b"a", b"b", b"c", b"b", b"c"]
    server.fail(b"x", RedisConnectionError("cut"), RedisConnectionError("cut again"))
    with pytest.raises(BackplaneUnavailableError):
        await commands.execute(b"x")
    assert server.received.count(b"x") == 2


async def test_a_connection_that_broke_while_idle_costs_nothing(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """It is noticed before the next command is sent, which goes out on a new one."""
    commands = make()
    await commands.start()
    server.links[0].is_broken = True
    assert await commands.execute(b"a") == b"a"
    assert server.received == [b"a"]
    assert len(server.links) == 2


async def test_an_unanswered_command_fails_at_its_deadline(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """A server that hangs costs the deadline, and the connection."""
    commands = make()
    await commands.start()
    server.answering.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(BackplaneUnavailableError, match="may have been done"):
        await commands.execute(b"a")
    assert loop.time() - began > 0.2
    server.answering.set()
    assert await commands.execute(b"b") == b"b"
    assert server.received == [b"a", b"b"]


async def test_a_command_without_a_connection_fails_at_its_deadline_and_was_not_sent(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """While nothing can be sent, commands wait until their own deadlines; then surely not done."""
    commands = make()
    await commands.start()
    server.is_down = True
    server.links[0].is_broken = True
    late = asyncio.ensure_future(commands.execute(b"late"))
    soon = asyncio.ensure_future(
        commands.execute(b"soon", asyncio.get_running_loop().time() + 0.05)
    )
    done, _ = await asyncio.wait({late, soon}, return_when=asyncio.FIRST_COMPLETED)
    assert soon in done
    with pytest.raises(BackplaneUnavailableError, match="nothing was sent"):
        await soon
    assert not commands.is_connected
    with pytest.raises(BackplaneUnavailableError, match="nothing was sent"):
        await late
    server.is_down = False
    assert await commands.execute(b"after") == b"after"
    assert server.received == [b"after"]


async def test_a_full_queue_refuses_at_once(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """Beyond its bounds in commands or bytes nothing is taken on."""
    refusals = _Refusals()
    for bounds in ({"command_queue_limit": 3}, {"command_queue_bytes": 30}):
        commands = make(msgspec.structs.replace(_OPTIONS, **bounds), instruments=refusals)
        await commands.start()
        server.answering.clear()
        out = commands.execute(b"out")
        await eventually(lambda: server.received[-1:] == [b"out"])
        waiting = [commands.execute(b"0123456789") for _ in range(3)]
        with pytest.raises(BackplaneUnavailableError, match="3 commands of 30 bytes wait"):
            await commands.execute(b"refused")
        server.answering.set()
        assert await out == b"out"
        await asyncio.gather(*waiting)
        # There is room again, in bytes as well.
        assert await asyncio.gather(*(commands.execute(b"0123456789") for _ in range(3)))
    assert refusals.count == 2
    assert b"refused" not in server.received


async def test_a_caller_that_gave_up_is_not_served(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """A command whose caller was cancelled before it was sent is never sent."""
    commands = make()
    await commands.start()
    cancelled = commands.execute(b"cancelled")
    cancelled.cancel()
    assert await commands.execute(b"a") == b"a"
    assert server.received == [b"a"]


async def test_a_caller_that_gives_up_later_shifts_no_reply(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """Replies go to their own callers, though one of them is gone."""
    commands = make()
    await commands.start()
    server.answering.clear()
    futures = [commands.execute(data) for data in (b"a", b"b", b"c")]
    await eventually(lambda: server.pipelines)
    futures[1].cancel()
    server.answering.set()
    assert (await futures[0], await futures[2]) == (b"a", b"c")


@pytest.mark.parametrize(
    ("refusal", "expected", "message"),
    [
        (NoScriptError("No matching script", status_code="NOSCRIPT"), ScriptMissingError, "script"),
        (OutOfMemoryError("used memory"), BackplaneUnavailableError, "maxmemory"),
        (ReadOnlyError("You can't write"), RefusedForNowError, "replica"),
        (ClusterDownError("Hash slot not served"), RefusedForNowError, "down"),
        (MasterDownError("Link with MASTER is down"), RefusedForNowError, "down"),
        (TryAgainError("Multiple keys"), RefusedForNowError, "moving"),
        (ResponseError("BUSY Redis is busy"), RefusedForNowError, "for now"),
        (ResponseError("MISCONF cannot persist"), BackplaneUnavailableError, "for now"),
        (ResponseError("ERR odd"), BackplaneError, "odd"),
    ],
)
async def test_a_refusal_concerns_one_command(
    server: _Server,
    make: Callable[..., _Commands],
    refusal: Exception,
    expected: type[Exception],
    message: str,
) -> None:
    """Redis' error replies become ours, and the commands around are answered."""
    commands = make()
    await commands.start()
    server.fail(b"b", refusal)
    results = await asyncio.gather(
        *map(commands.execute, (b"a", b"b", b"c")), return_exceptions=True
    )
    assert (results[0], results[2]) == (b"a", b"c")
    assert type(results[1]) is expected
    assert message in str(results[1])
    assert await commands.execute(b"d") == b"d"


async def test_a_closed_connection_fails_all_that_waits(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """`close` answers everybody and takes nothing more."""
    commands = make()
    with pytest.raises(BackplaneUnavailableError, match="not part of the cluster"):
        await commands.execute(b"too early")
    await commands.start()
    server.answering.clear()
    out = commands.execute(b"out")
    await eventually(lambda: server.pipelines)
    waiting = commands.execute(b"waiting")
    await commands.close()
    for future in (out, waiting, commands.execute(b"too late")):
        with pytest.raises(BackplaneUnavailableError):
            await future


@pytest.mark.parametrize("bug", [ValueError, asyncio.CancelledError])
async def test_a_bug_on_the_way_ends_a_connection_and_not_the_commands(
    server: _Server, make: Callable[..., _Commands], bug: type[BaseException]
) -> None:
    """What was out is unknown; a new connection serves what is asked for next."""
    commands = make()
    await commands.start()
    server.fail(b"a", bug())
    with pytest.raises(UnansweredError):
        await commands.execute(b"a")
    assert await commands.execute(b"b") == b"b"
    assert len(server.links) == 2


async def test_a_bug_in_the_introduction_is_no_end(server: _Server) -> None:
    """A connection that could not be introduced is made again, whatever was the reason."""
    bugs = [ValueError("a reply of a shape that nobody thought of"), TypeError("another")]

    async def introduce(_: Link) -> None:
        if len(server.links) > 1 and bugs:
            raise bugs.pop()

    commands = _Commands(
        "test", _OPTIONS, server.open, NoInstruments(), on_connected=introduce, repeats=0
    )
    await commands.start()
    server.links[0].is_broken = True
    while True:
        # It may take longer than one command's deadline: two pauses come before.
        with contextlib.suppress(BackplaneUnavailableError):
            assert await commands.execute(b"a") == b"a"
            break
    assert not bugs
    await commands.close()


class _Garbled(NoInstruments):
    def __init__(self) -> None:
        self.count = 0

    def garbled(self, connection: str) -> None:
        assert connection == "test"
        self.count += 1


def _misread(_: Reply) -> Reply:
    raise IndexError("too short")


async def test_an_answer_that_cannot_be_read_ends_its_connection(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """Nothing on it can be trusted: what is out behind it is as unknown as the answer itself."""
    instruments = _Garbled()
    commands = make(instruments=instruments)
    await commands.start()
    answers = [
        commands.execute(b"a"),
        commands.execute(b"b", read=_misread),
        commands.execute(b"c"),
    ]
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert found[0] == b"a"
    assert [type(each) for each in found[1:]] == [UnansweredError, UnansweredError]
    assert "cannot be read" in str(found[1])
    assert await commands.execute(b"d") == b"d"
    assert (len(server.links), instruments.count) == (2, 1)


async def test_a_read_whose_answer_cannot_be_read_is_asked_again(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """Once, on another connection, as for one that was lost."""
    commands = make(repeats=1)
    await commands.start()
    is_first = True

    def misread_once(reply: Reply) -> Reply:
        nonlocal is_first
        if is_first:
            is_first = False
            raise IndexError("too short")
        return reply

    assert await commands.execute(b"a", read=misread_once) == b"a"
    assert server.received == [b"a", b"a"]


async def test_a_kept_value_that_cannot_be_read_costs_its_caller_only(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """It would be the same on any connection, so this one goes on."""

    def unreadable(_: Reply) -> Reply:
        raise UnreadableEntryError("of another release")

    commands = make()
    await commands.start()
    first, second = commands.execute(b"a", read=unreadable), commands.execute(b"b")
    with pytest.raises(UnreadableEntryError):
        await first
    assert await second == b"b"
    assert len(server.links) == 1


async def test_deadlines_are_kept_after_a_bug_in_keeping_them(
    server: _Server, make: Callable[..., _Commands]
) -> None:
    """The timer that fails what was not sent is set again, though it raised once."""
    commands = make()
    await commands.start()
    server.is_down = True
    server.links[0].is_broken = True
    first = commands.execute(b"a", asyncio.get_running_loop().time() + 0.2)
    queue, count = commands._queue, 0
    look = queue._unexpired

    def raise_once(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == 1:
            raise ValueError("a bug")
        return look(*args)

    queue._unexpired = raise_once  # type: ignore[method-assign, assignment]
    with pytest.raises(BackplaneUnavailableError):
        await first
    assert count == 2
