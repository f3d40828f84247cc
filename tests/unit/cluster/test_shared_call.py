"""One call for all who ask for it at the same time."""

from __future__ import annotations

import asyncio

import pytest

from realtime_node.cluster.on_redis.shared_call import SharedCall, copy_of
from realtime_node.errors import BackplaneUnavailableError, ReplyError
from tests.support.conditions import NEVER_S


async def test_who_asks_meanwhile_shares_the_answer() -> None:
    """One call is out at a time; the next one is made for who asks after its end."""
    calls = 0

    async def count() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls

    call = SharedCall(count, name="test")
    assert {*await asyncio.gather(call(), call(), call())} == {1}
    assert await call() == 2


@pytest.mark.parametrize("error", [ValueError("a bug"), ConnectionError(9, "gone")])
async def test_everybody_gets_an_error_of_his_own(error: Exception) -> None:
    """One that is raised in several tasks would collect the traceback of each."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    call = SharedCall(fail, name="test")
    found = await asyncio.gather(call(), call(), return_exceptions=True)
    assert [type(each) for each in found] == [type(error)] * 2
    assert [str(each) for each in found] == [str(error)] * 2
    assert found[0] is not found[1]
    assert all(each.__cause__ is error for each in found if isinstance(each, Exception))


async def test_a_call_that_is_cancelled_by_mistake_is_no_cancellation_of_its_callers() -> None:
    """They are told that it failed, and may ask again."""
    outcomes: list[BaseException | None] = [asyncio.CancelledError(), None]

    async def call() -> str:
        if error := outcomes.pop(0):
            raise error
        return "answer"

    shared = SharedCall(call, name="test")
    with pytest.raises(ConnectionError):
        await shared()
    assert await shared() == "answer"


async def test_a_caller_that_gives_up_leaves_the_call_to_the_others() -> None:
    """And a call that nobody waits for any more says nothing when it fails."""
    end = asyncio.Event()

    async def wait() -> str:
        await end.wait()
        return "answer"

    call = SharedCall(wait, name="test")
    first, second = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.sleep(0)
    first.cancel()
    end.set()
    assert await second == "answer"
    assert first.cancelled()


async def test_who_waits_for_a_call_that_is_given_up_before_it_began_is_told() -> None:
    """Its task never runs then, and would leave them waiting for ever."""

    async def never() -> None:
        raise AssertionError("it begins too late")

    call = SharedCall(never, name="test")
    asking = asyncio.create_task(call())
    await asyncio.sleep(0)
    await call.close()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(asking, NEVER_S)


def test_a_copy_is_like_its_original() -> None:
    """In kind, text and attributes, whatever its constructor wants."""
    original = ReplyError(100, "internal", temporary=True)
    copy = copy_of(original)
    assert isinstance(copy, ReplyError)
    assert (copy.code, copy.message, copy.temporary) == (100, "internal", True)
    assert str(copy) == str(original)
    assert copy.__cause__ is original
    assert str(copy_of(BackplaneUnavailableError("away"))) == "away"
