"""The benchmark of holds: what counts as one, what the table says, and that its operations end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.load import servers
from tests.load.holds import members, table
from tests.load.holds.lab import Lab
from tests.load.holds.operations import OPERATIONS
from tests.load.holds.watch import Hold, LoopWatch, watched
from tests.support.prerequisites import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.load.tools import Tools


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The present."""
        return self.now


async def test_the_longest_gap_between_two_passes_counts() -> None:
    """By either clock, whichever gap it is by each of them; also the one that was not over."""
    wall, cpu = Clock(), Clock()
    watch = LoopWatch(wall_s=wall, cpu_s=cpu)
    watch.start()
    for wall_s, cpu_s in ((0.25, 0.25), (1.0, 0.125), (0.5, 0.5)):
        wall.now += wall_s
        cpu.now += cpu_s
        watch.beat()
    assert watch.hold == Hold(wall_ms=1_000, cpu_ms=500, passes=3)
    wall.now += 2
    watch.stop()
    assert watch.hold.wall_ms == 2_000


async def test_what_several_callbacks_of_one_pass_take_is_one_hold() -> None:
    """A client waits for all of them, whoever wrote them."""
    loop = asyncio.get_running_loop()
    wall = Clock()

    def work() -> None:
        wall.now += 1

    watch = LoopWatch(wall_s=wall, cpu_s=Clock())
    watch.start()
    await asyncio.sleep(0)
    for _ in range(3):
        loop.call_soon(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    watch.stop()
    assert watch.hold.wall_ms == 3_000


async def test_a_watched_loop_goes_on_as_before() -> None:
    """Nothing of the watch is left behind its block."""
    with watched() as hold:
        await asyncio.sleep(0)
    passes = hold.passes
    for _ in range(3):
        await asyncio.sleep(0)
    assert hold.passes == passes > 0


def test_the_table_has_both_figures_and_says_what_is_too_long(tmp_path: Path) -> None:
    """Medians of the rounds, now and before, also where one of the two is not known."""
    before = {"a": [Hold(300.0, 200.0)], "gone": [Hold(1.0, 1.0)]}
    table.save(tmp_path / "kept" / "before.json", before)
    now = {
        "a": [Hold(9.0, 8.0), Hold(11.0, 10.0), Hold(90.0, 12.0)],
        "b": [Hold(21.0, 5.0)],
    }
    text = table.markdown(
        {"a": "an operation", "b": "another", "c": "not measured"},
        now,
        table.load(tmp_path / "kept" / "before.json"),
    )
    assert text.splitlines()[2:] == [
        "| an operation | 300.0 | 11.0 | 10.0 |  |",
        "| another |  | 21.0 | 5.0 | **more than 20** |",
    ]


@pytest.mark.parametrize("size", [10, 200, 70_000])
def test_a_member_speaks_as_a_client_does(size: int) -> None:
    """Each of the three forms of a frame's length is one that the parser understands."""
    from websockets.frames import Opcode  # noqa: PLC0415
    from websockets.protocol import OPEN, SERVER, Protocol  # noqa: PLC0415

    protocol = Protocol(SERVER, state=OPEN, max_size=None)
    protocol.receive_data(members.frame_of(b"x" * size))
    (frame,) = protocol.events_received()
    assert (frame.opcode, bytes(frame.data)) == (Opcode.TEXT, b"x" * size)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["loss", "slow-close", "disconnect", "scrape", "reload-namespace"])
async def test_an_operation_ends_and_was_watched(tools: Tools, tmp_path: Path, name: str) -> None:
    """On a real node over a real Redis, with clients in memory and with sockets."""
    require("redis-server", fix="apt-get install redis-server")
    async with servers.redis(tmp_path) as redis_port:
        lab = Lab(tmp_path, tools, redis_port, part=0.002)
        hold = await OPERATIONS[name].run(lab)
    assert hold.passes > 1
    assert 0 < hold.wall_ms < 1_000 * lab.deadline_s
