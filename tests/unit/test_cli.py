"""What the command line makes of a node's end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from realtime_node import cli
from realtime_node.errors import BackplaneUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeNode:
    """A node that ends at once."""

    failure = ""
    refusal: Exception | None = None
    stops = 0

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def start(self) -> list[str]:
        """Start, or not."""
        if self.refusal is not None:
            raise self.refusal
        return ["http://localhost:1"]

    async def wait_emptied(self) -> None:
        """Have no clients."""

    async def stop(self) -> None:
        """Note it."""
        FakeNode.stops += 1

    def recording(self) -> AbstractContextManager[None]:
        """Record nothing."""
        return nullcontext()

    def end(self) -> None:
        """Nothing."""

    def reload(self) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeNode]]:
    """A node that is none, and a process that stays as it is."""
    monkeypatch.setattr(cli, "Node", FakeNode)
    monkeypatch.setattr(cli, "configure_logging", lambda _level: None)
    monkeypatch.setattr(cli, "_tune_collector", lambda: None)
    monkeypatch.setattr(FakeNode, "stops", 0)
    return FakeNode  # type: ignore[return-value]


def test_a_node_that_ended_in_order_has_exit_status_0(node: Any) -> None:
    """As a signal asks for it."""
    assert cli.main(["serve"]) == 0
    assert node.stops == 1


def test_a_node_that_ended_itself_has_an_exit_status_of_its_own(
    node: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So that it is started anew, and its logs tell why."""
    monkeypatch.setattr(node, "failure", "inbox has failed for 60 s: ValueError: a bug")
    assert cli.main(["serve"]) == cli.EXIT_FAILING == 70
    assert node.stops == 1
    assert "inbox has failed for 60 s" in caplog.text


def test_a_node_that_cannot_start_has_exit_status_1(
    node: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says why in one line."""
    monkeypatch.setattr(node, "refusal", BackplaneUnavailableError("Redis is away"))
    assert cli.main(["serve"]) == 1
    assert capsys.readouterr().err == "realtime-node: Redis is away\n"
