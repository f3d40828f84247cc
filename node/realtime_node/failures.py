"""What failed unexpectedly on this node: counted, logged within bounds, told while it lasts.

Code handles the failures that it expects by itself. What reaches this record is a bug of ours, or
an input that nobody thought of. `supervision` catches it; the record decides what is logged and
which loops count as failing. It does no I/O but logging, and takes its clock.

Bounds: one entry for each name of a loop or callback, and names are constants of the code. A
traceback for the same name is logged every ten seconds at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

import msgspec

from realtime_node.errors import RealtimeError

_log = logging.getLogger(__name__)

LOG_EVERY_S: Final = 10.0
"""Between two tracebacks of the same loop or callback."""
WELL_AFTER_S: Final = 3.0
"""A loop that has run so long since it was restarted is well again; one that pauses between its
rounds has to run so much longer than a pause."""
UNFIT_AFTER: Final = 3
"""A node is not ready while a loop has failed this often in a row by the node's own fault."""
LONGEST_ERROR: Final = 200
"""Characters of an error that are told."""
_CLIENTS: Final = frozenset({"aiohttp", "hiredis", "redis"})
"""Libraries whose errors speak of the other side."""


class FailureMetrics(Protocol):
    """Where failures are counted; `telemetry` implements it."""

    def restarted(self, loop: str) -> None:
        """Count a loop that raised and is run again."""

    def callback_failed(self, where: str) -> None:
        """Count a callback, or one step of many, that raised."""


class NoMetrics:
    """Counts nothing: for parts that run without a node, as in tests."""

    def restarted(self, loop: str) -> None:
        """Ignore it."""

    def callback_failed(self, where: str) -> None:
        """Ignore it."""


class FailingLoop(msgspec.Struct, frozen=True, kw_only=True):
    """A loop that raised, and has not run long enough since to count as well again."""

    loop: str
    failing_s: float
    """Seconds since it raised first."""
    failures: int
    """How often it raised since."""
    error: str
    """The last exception, as `ValueError: …`, in one line."""
    is_own_fault: bool
    """Whether the node itself is at fault, instead of Redis, the network or a file."""
    own_faults: int
    """How many failures in a row, up to the last, were the node's own fault."""
    own_fault_s: float
    """Seconds since the first of these; 0 if there are none."""


class _Loop:
    """How one loop fares."""

    __slots__ = (
        "error",
        "failures",
        "name",
        "own_faults",
        "own_since",
        "restarted_at",
        "since",
        "well_after_s",
    )

    def __init__(self, name: str, since: float, error: BaseException, well_after_s: float) -> None:
        self.name = name
        self.since = since
        self.failures = 0
        self.error = error
        self.own_faults = 0
        self.own_since = since
        self.restarted_at: float | None = None
        self.well_after_s = well_after_s

    def failed(self, error: BaseException, now: float) -> None:
        """Note one more failure."""
        self.failures += 1
        self.error = error
        self.restarted_at = None
        if not is_own_fault(error):
            self.own_faults = 0
            return
        if not self.own_faults:
            self.own_since = now
        self.own_faults += 1


class Failures:
    """The record of one node."""

    def __init__(
        self,
        metrics: FailureMetrics | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics or NoMetrics()
        self._now = monotonic
        # By task: several loops may have one name.
        self._loops: dict[object, _Loop] = {}
        # By name: when its traceback was logged last, and how many were not since.
        self._logged: dict[str, tuple[float, int]] = {}

    def loop_failed(
        self,
        task: object,
        name: str,
        error: BaseException,
        *,
        retry_in_s: float,
        well_after_s: float = WELL_AFTER_S,
    ) -> None:
        """Note that the loop of a task raised, and begins again after a pause.

        It is well again once it has run for `well_after_s`.
        """
        self._metrics.restarted(name)
        loop = self._loops.get(task)
        if loop is None or self._is_well(loop):
            loop = self._loops[task] = _Loop(name, self._now(), error, well_after_s)
        loop.failed(error, self._now())
        self._log(name, error, f"{name} failed, and begins again in {retry_in_s:.2g} s")

    def loop_restarted(self, task: object) -> None:
        """Note that a loop that raised runs again."""
        if loop := self._loops.get(task):
            loop.restarted_at = self._now()

    def loop_ended(self, task: object) -> None:
        """Note that a loop is done, or nobody needs it any more."""
        self._loops.pop(task, None)

    def callback_failed(self, where: str, error: BaseException) -> None:
        """Note that a callback raised, or one step of a pass over many."""
        self._metrics.callback_failed(where)
        self._log(where, error, f"{where} failed")

    def failing(self) -> list[FailingLoop]:
        """Tell which loops are failing now."""
        now = self._now()
        for task in [task for task, loop in self._loops.items() if self._is_well(loop)]:
            del self._loops[task]
        return [
            FailingLoop(
                loop=loop.name,
                failing_s=round(now - loop.since, 3),
                failures=loop.failures,
                error=_in_words(loop.error),
                is_own_fault=is_own_fault(loop.error),
                own_faults=loop.own_faults,
                own_fault_s=round(now - loop.own_since, 3) if loop.own_faults else 0.0,
            )
            for loop in self._loops.values()
        ]

    def _is_well(self, loop: _Loop) -> bool:
        if loop.restarted_at is None:
            return False
        return self._now() - loop.restarted_at >= loop.well_after_s

    def _log(self, name: str, error: BaseException, message: str) -> None:
        now = self._now()
        logged_at, held_back = self._logged.get(name, (float("-inf"), 0))
        if now - logged_at < LOG_EVERY_S:
            self._logged[name] = (logged_at, held_back + 1)
            return
        self._logged[name] = (now, 0)
        more = f" ({held_back} more since the last time)" if held_back else ""
        _log.error("%s%s", message, more, exc_info=error)


def is_own_fault(error: BaseException) -> bool:
    """Tell whether only a bug of the node explains an error.

    Redis that is away or answers nonsense, a backend, the network and a file that is gone raise
    `RealtimeError`, `OSError` or an error of the library that speaks with them, and are nothing
    that another process of the node would mend.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(is_own_fault(each) for each in error.exceptions)
    if isinstance(error, RealtimeError | OSError | asyncio.IncompleteReadError):
        return False
    return all(kind.__module__.partition(".")[0] not in _CLIENTS for kind in type(error).__mro__)


def find_unfit(failing: Iterable[FailingLoop]) -> FailingLoop | None:
    """Return the loop that has failed longest by the node's own fault, and often enough to count.

    A node with such a loop is not ready: its process is broken, and another may not be. None: what
    fails is somebody else's fault, and every node would be as unready.
    """
    unfit = [loop for loop in failing if loop.own_faults >= UNFIT_AFTER]
    return max(unfit, key=lambda loop: loop.own_fault_s, default=None)


def _in_words(error: BaseException) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= LONGEST_ERROR else f"{words[:LONGEST_ERROR]}…"


_current: ContextVar[Failures | None] = ContextVar("failures", default=None)
_of_nobody: Final = Failures()


def current() -> Failures:
    """Return the record of the node that runs this code; tasks and callbacks inherit it."""
    return _current.get() or _of_nobody


@contextmanager
def recording(failures: Failures) -> Iterator[None]:
    """Let everything that is started inside, and what that starts, be noted in `failures`."""
    token = _current.set(failures)
    try:
        yield
    finally:
        _current.reset(token)
