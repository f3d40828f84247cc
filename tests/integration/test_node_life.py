"""The life of a whole node in this process: a start that fails leaves nothing, an end is whole."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.app import Node
from realtime_node.config import Settings
from realtime_node.drain import restarter
from realtime_node.errors import BackplaneUnavailableError, ConfigError
from realtime_node.supervision import guarded
from tests.support.conditions import NEVER_S, eventually
from tests.support.inner_node import InnerNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.wire_client import WireClient

SETTINGS = {
    "http_server": {"address": "127.0.0.1", "port": 0, "internal_port": 0},
    "engine": {"type": "memory"},
    "shutdown": {"timeout": "1s"},
}


def settings(**sections: Any) -> Settings:
    """Settings of a node that listens where the kernel says."""
    return Settings.model_validate({**SETTINGS, **sections})


@pytest.fixture
def node() -> Node:
    """A node that has not started."""
    return Node(settings())


def failures_of(node: Node) -> dict[str, float]:
    """What raised unexpectedly, as the metrics count it."""
    lines = node._parts.metrics.expose().decode().splitlines()
    return {
        line.split('where="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("realtime_callback_errors_total{")
    }


@pytest.mark.parametrize(
    "error",
    [
        BackplaneUnavailableError("away"),
        ConfigError("wrong"),
        OSError("taken"),
        ValueError("a bug"),
        asyncio.CancelledError(),
    ],
)
@pytest.mark.parametrize("at", ["backplane", "listeners"])
async def test_a_start_that_fails_leaves_nothing(
    node: Node, at: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises, loops, ports and the place in the cluster are given up."""
    before = asyncio.all_tasks()

    async def fails(*_: object, **__: object) -> None:
        raise error

    if at == "backplane":
        monkeypatch.setattr(node._backplane, "start", fails)
    else:
        monkeypatch.setattr(node._listeners, "listen", fails)
    with pytest.raises(type(error)):
        await node.start()
    assert asyncio.all_tasks() == before
    assert not node.status().backplane_available
    assert failures_of(node) == {}


async def test_a_start_that_is_cancelled_leaves_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loops that run by then are ended."""
    before = asyncio.all_tasks()
    is_listening = asyncio.Event()

    async def hangs(*_: object, **__: object) -> None:
        is_listening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(node._listeners, "listen", hangs)
    starting = asyncio.create_task(node.start())
    await asyncio.wait_for(is_listening.wait(), NEVER_S)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert asyncio.all_tasks() == before
    assert not node.status().backplane_available


@pytest.mark.parametrize("part", ["reloader", "ports", "registry", "websockets", "departures"])
async def test_an_end_leaves_the_cluster_whatever_raises_before(
    node: Node, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions are written, the loops ended, the cluster left; what raised is counted."""
    before = asyncio.all_tasks()
    await node.start()
    breaks = {
        "reloader": (node._reloader, "stop", "shutdown-settings"),
        "ports": (node._listeners, "stop", "shutdown-ports"),
        "registry": (node._registry, "close_all", "shutdown-clients"),
        "websockets": (node._websockets, "wait_closed", "shutdown-goodbyes"),
        "departures": (node._services.departures, "drain", "shutdown-departures"),
    }
    target, method, where = breaks[part]
    drained: list[bool] = []

    def fails(*_: object) -> None:
        raise ValueError("a bug")

    async def drains() -> None:
        drained.append(True)

    monkeypatch.setattr(target, method, fails)
    monkeypatch.setattr(node._services.keeper, "drain", drains)
    await node.stop()
    assert drained
    assert failures_of(node) == {where: 1}
    assert not node.status().backplane_available
    assert asyncio.all_tasks() == before


async def test_clients_that_do_not_go_leave_time_for_the_sessions(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A goodbye that hangs takes its share; the records of sessions are written all the same."""
    await node.start()
    drained: list[bool] = []

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def drains() -> None:
        await asyncio.sleep(0.01)
        drained.append(True)

    monkeypatch.setattr(node._websockets, "wait_closed", hangs)
    monkeypatch.setattr(node._services.keeper, "drain", drains)
    await node.stop()
    assert drained
    assert failures_of(node) == {}


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
async def test_a_node_leaves_the_collector_of_its_process_alone(node: Node) -> None:
    """A program that has a node inside does not become another by it."""
    before = gc.get_threshold(), gc.get_freeze_count()
    await node.start()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    await node.stop()


# --- loops ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("a bug"), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize(
    ("loop", "owner", "method"),
    [
        ("deadlines", "_registry", "wake_due"),
        ("in-memory-inbox", "_hub", "receive"),
        ("self-restart", "_restarter", "look"),
        ("drain", "_drainer", "_do"),
    ],
)
async def test_a_loop_that_raises_goes_on(
    monkeypatch: pytest.MonkeyPatch, loop: str, owner: str, method: str, error: BaseException
) -> None:
    """A bug, and a cancellation that nobody asked for, cost one round; messages are delivered."""
    monkeypatch.setattr(restarter, "LOOK_EVERY_S", 0.01)
    settings = {"client": {"insecure": True}, "shutdown": {"timeout": "1s"}}
    async with InnerNode.running(settings) as inner:
        client = await inner.client("news")
        target = getattr(inner.node, owner)
        right, calls = getattr(target, method), 0

        def raises_once(*given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise error
            return right(*given)

        monkeypatch.setattr(target, method, raises_once)
        inner.node._drainer.shed(0, 1.0)  # which lets the drain look
        await inner.publish("news", 1)
        await eventually(lambda: calls >= 1)
        assert inner.count("loop_restarts_total", f'loop="{loop}"') == 1
        assert [failing.loop for failing in inner.node.status().failing] == [loop]
        assert inner.node.status().ready
        inner.node._drainer.shed(0, 1.0)
        await eventually(lambda: calls > 1)
        client.inbox.clear()
        await deliver(inner, client)


async def deliver(inner: InnerNode, client: WireClient) -> None:
    """Publish until something arrives; a client that was told of a loss comes back."""
    for number in count(1000):
        await inner.publish("news", number)
        if await client.has(1, within_s=0.1):
            push = client.inbox.popleft().get("push", {})
            if "pub" in push:
                return
            await client.call({"id": number, "subscribe": {"channel": "news"}})


async def test_a_bug_in_a_signal_handler_is_counted_by_its_node() -> None:
    """The node goes on, and can be told to end by the next signal."""
    async with InnerNode.running({}) as inner:

        def fails() -> None:
            raise ValueError("a bug")

        loop, called = asyncio.get_running_loop(), asyncio.Event()
        with inner.node.recording():
            loop.add_signal_handler(signal.SIGUSR1, guarded(fails, where="signal"))
            loop.add_signal_handler(signal.SIGUSR2, called.set)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
            await asyncio.wait_for(called.wait(), NEVER_S)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.remove_signal_handler(signal.SIGUSR2)
        assert inner.count("callback_errors_total", 'where="signal"') == 1
