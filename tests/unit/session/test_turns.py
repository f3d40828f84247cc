"""A client's work is done in order, and much of it in several passes of the loop."""

from __future__ import annotations

import asyncio
from functools import partial

from realtime_node.session.turns import MAX_WAITING, WORK_PER_PASS, Turns
from tests.support.conditions import NEVER_S
from tests.support.fakes import FakeLink
from tests.support.loop_steps import counted_steps


async def test_thousands_of_commands_of_one_frame_share_the_loop_with_others() -> None:
    """Each pass does some of them, in order; the client is read from again near the end."""
    link = FakeLink()
    turns = Turns(link)
    done: list[int] = []
    with counted_steps() as steps:

        async def work(number: int) -> None:
            done.append(number)
            steps.count()

        for number in range(2_000):
            turns.add(partial(work, number))
        assert not link.is_reading
        await asyncio.wait_for(turns.run(), NEVER_S)
    assert done == list(range(2_000))
    assert steps.most <= WORK_PER_PASS <= MAX_WAITING
    assert link.is_reading
