"""Every task and every callback of the node is supervised, or named here with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

import realtime_node
from tests.support.unsupervised import unsupervised_calls

EXCEPTIONS: Final = {
    "supervision.py, supervise: create_task": "this is what supervises",
    # --- awaited by who started them: what they raise is raised there
    "app.py, Node._join: create_task": "awaited, raised there",
    "app.py, Node._join: create_task #2": "waits for an event, then is cancelled",
    "dev/child.py, end: create_task": "awaited, raised there",
    "dev/child.py, end: create_task #2": "waits for an event, then is cancelled",
    "dev/supervisor.py, _all: TaskGroup": "the first error ends the cluster, by intent",
    "dev/supervisor.py, _all: create_task": "of that group",
    "dev/supervisor.py, _until: create_task": "waits for an event, then is cancelled",
    "dev/supervisor.py, _until: create_task #2": "the first error ends the cluster, by intent",
    # --- what they raise is taken inside, by what knows more to do than to count it
    "session/session.py, Session.enqueue: create_task": "`_take_turns` closes that client",
}
"""What may go without `supervision`, and why. A row that is not needed any more fails the test."""


def test_every_task_and_callback_of_the_node_is_supervised() -> None:
    """No task ends, and no callback raises, without being run again, counted or awaited."""
    found = unsupervised_calls(Path(realtime_node.__file__).parent)
    unnamed = [row for row in found if row not in EXCEPTIONS]
    assert not unnamed, "use supervision.supervise, guarded or guard"
    stale = [row for row in EXCEPTIONS if row not in found]
    assert not stale, "these are supervised now: take them off the list"


UNSUPERVISED: Final = {
    "asyncio.create_task(work())": "start: create_task",
    "asyncio.ensure_future(work())": "start: ensure_future",
    "loop.call_soon(work)": "start: call_soon",
    "loop.call_soon_threadsafe(work, 1)": "start: call_soon_threadsafe",
    "loop.call_later(1, lambda: guarded(work)())": "start: call_later",
    "loop.call_at(1, self.work)": "start: call_at",
    "task.add_done_callback(work)": "start: add_done_callback",
    "loop.add_signal_handler(1, work)": "start: add_signal_handler",
    "asyncio.TaskGroup()": "start: TaskGroup",
}


@pytest.mark.parametrize("call", UNSUPERVISED)
def test_the_search_finds_what_is_not_supervised(call: str, tmp_path: Path) -> None:
    """Each way to start a task or to register a callback is found where it stands."""
    (tmp_path / "room.py").write_text(f"def start():\n    {call}\n    {call}\n")
    row = f"room.py, {UNSUPERVISED[call]}"
    assert unsupervised_calls(tmp_path) == [row, f"{row} #2"]


@pytest.mark.parametrize(
    "body",
    [
        "self.take(data)",
        "with guard('a'): self.take(data)\n        self.flush()",
        "try: self.take(data)\n        except ValueError: pass",
        "try: self.take(data)\n        except Exception: pass\n        finally: self.flush()",
    ],
)
def test_the_search_finds_protocol_callbacks_that_may_raise(body: str, tmp_path: Path) -> None:
    """A guard around a part of a callback is none."""
    (tmp_path / "room.py").write_text(
        f"class Link:\n    def data_received(self, data):\n        {body}\n"
    )
    assert unsupervised_calls(tmp_path) == ["room.py, Link: data_received"]


_GUARDED_FIELD: Final = """
class A:
    def start(self):
        self._work = guarded(work, where="work")
        loop.call_soon(self._work)
"""
_GUARDED_METHOD: Final = """
class A:
    def data_received(self, data):
        'Take it.'
        with guard("link"):
            self.take(data)
"""
_CONTAINED_METHOD: Final = """
class A:
    def data_received(self, data):
        try:
            self.take(data)
        except Exception as error:
            self.fail(error)
"""
SUPERVISED: Final = (
    "supervise(work, name='work')",
    "loop.call_later(1, guarded(work, where='work'))",
    "class A(Protocol):\n    def data_received(self, data):\n        'Take it.'",
    _GUARDED_FIELD,
    _GUARDED_METHOD,
    _CONTAINED_METHOD,
)


@pytest.mark.parametrize("source", SUPERVISED)
def test_the_search_leaves_out_what_is_supervised(source: str, tmp_path: Path) -> None:
    """What goes through `supervision`, and what takes all that it may raise, is fine."""
    (tmp_path / "room.py").write_text(source)
    assert unsupervised_calls(tmp_path) == []
