"""A lag is seen from outside, and read from the node where it tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from tests.load import machine
from tests.load.capacity.watch import watching, weighed_quantile
from tests.load.servers import Server
from tests.support.conditions import eventually


def test_a_long_lag_counts_for_all_that_it_hid() -> None:
    """A probe that took a second stands for the hundred that it kept from being sent."""
    assert weighed_quantile([0.001] * 400, 0.01, 0.99) == 0.001
    assert weighed_quantile([0.001] * 400 + [1.0], 0.01, 0.99) == 1.0
    assert weighed_quantile([], 0.01, 0.99) == 0.0


@dataclass
class _FakeServer:
    """A server of one process, as far as a watch looks at it."""

    port: int

    def clock(self) -> machine.Clock:
        return machine.Clock(time.process_time(), 0.0)


@contextlib.asynccontextmanager
async def _node(status: dict[str, float], lags_s: list[float]) -> AsyncIterator[Server]:
    """Serve; before an answer the loop stands still for the next of `lags_s`."""

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(status)

    async def live(_: web.Request) -> web.Response:
        time.sleep(lags_s.pop() if lags_s else 0)  # noqa: ASYNC251 - it is to stand still
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/status", tell), web.get("/livez", live)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield cast("Server", _FakeServer(runner.addresses[0][1]))
    finally:
        await runner.cleanup()


async def test_a_node_that_tells_its_lag_is_believed() -> None:
    """With `loop_lag_s` in its status, a node is asked instead of probed."""
    async with _node({"loop_lag_s": 0.25}, []) as server, watching(server) as watch:
        await eventually(lambda: watch.seen().lag_p99_ms > 0)
        assert watch.source == "loop_lag_s of /status"
        assert watch.seen().lag_p99_ms == 250


async def test_a_node_that_does_not_tell_is_probed() -> None:
    """A loop that stands still for 200 ms is seen from outside to lag by about as much."""
    lags_s: list[float] = []
    async with _node({}, lags_s) as server, watching(server) as watch:
        assert watch.source == "latency of /livez"
        await eventually(lambda: watch.seen().lag_p99_ms > 0)
        watch.begin()
        lags_s.append(0.2)
        await eventually(lambda: watch.seen().lag_p99_ms >= 200)
