"""Which tests a run takes, and which of them share a process when it has several.

A test says what it is: `thorough` if it is too slow or too far from everyday changes for a run
before each commit, and `store` if it runs on a kind of Redis. A run says its scope, and the kinds.
What one scope leaves out another one takes: `quick` and `rest` are `all` together.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypothesis import is_hypothesis_test, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

QUICK_EXAMPLES: Final = 20
"""Of a property, in a quick run; Hypothesis' own 100 elsewhere."""


class Scope(enum.StrEnum):
    """How much of the tests."""

    QUICK = "quick"
    """What is not thorough, on the chosen stores, with few examples of each property."""
    REST = "rest"
    """What `quick` leaves out, and each property again with all its examples."""
    ALL = "all"
    """Everything once."""

    @property
    def examples(self) -> int:
        """How many examples of a property are tried that names no number."""
        return QUICK_EXAMPLES if self is Scope.QUICK else 100


def examples(usual: int) -> int:
    """Return how many examples a property gets in this run that gets `usual` in a whole one."""
    return max(1, usual * settings().max_examples // Scope.ALL.examples)


@dataclass(frozen=True)
class Selection:
    """What a run takes."""

    scope: Scope
    stores: frozenset[str]
    """The kinds of Redis that `quick` takes."""

    def takes(self, item: pytest.Item) -> bool:
        """Whether the test belongs to the run."""
        if self.scope is Scope.ALL:
            return True
        is_quick = not item.get_closest_marker("thorough") and (stores_of(item) <= self.stores)
        if self.scope is Scope.QUICK:
            return is_quick
        return not is_quick or _is_property(item)


def stores_of(item: pytest.Item) -> set[str]:
    """The kinds of Redis that a test runs on; none for one that is not about a kind."""
    return {kind for marker in item.iter_markers("store") for kind in marker.args}


def _is_property(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("hypothesis")) or is_hypothesis_test(
        getattr(item, "obj", None)
    )


_SLOW_FIRST: Final = ("integration", "browser", "contract", "load")
"""Folders whose tests take long: begun first, so that no process waits for another at the end."""

_BROWSER: Final = "tests/browser/"


def group_of(item: pytest.Item) -> str:
    """Name the group of a test: tests of one group run in one process, one after the other.

    A file's tests share what they start, and tests that measure time would disturb each other. A
    store that takes long to start is started once, and so is the browser.
    """
    if item.get_closest_marker("measures_time"):
        return "measures time"
    slow = sorted(stores_of(item) & {"sentinel", "redis cluster"})
    if slow:
        return slow[0]
    return _BROWSER if item.nodeid.startswith(_BROWSER) else item.nodeid.partition("::")[0]


def begin_with_the_slow(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in an order in which several processes end at about the same time."""

    def rank(item: pytest.Item) -> int:
        folder = item.nodeid.split("/")[1] if "/" in item.nodeid else ""
        return _SLOW_FIRST.index(folder) if folder in _SLOW_FIRST else len(_SLOW_FIRST)

    return sorted(items, key=rank)
