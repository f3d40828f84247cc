"""What all suites share: which tests a run takes, and the servers that their tests do no harm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support import budget
from tests.support.selection import Scope, Selection, begin_with_the_slow, group_of
from tests.support.stores import STORES, Stores

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run say what it takes."""
    group = parser.getgroup("selection")
    group.addoption(
        "--scope",
        type=Scope,
        choices=list(Scope),
        default=Scope.QUICK,
        help="quick: what is run before each commit; rest: what that leaves out; all: both",
    )
    group.addoption(
        "--stores",
        default="redis",
        help=f"kinds of Redis that `quick` takes, split by commas: all, or of {', '.join(STORES)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Try as many examples of each property as the scope wants."""
    scope: Scope = config.getoption("scope")
    # How long an example takes says something of the machine, and of what runs beside it.
    settings.register_profile(scope, deadline=None, max_examples=scope.examples)
    settings.load_profile(scope)


def _selection(config: pytest.Config) -> Selection:
    named: str = config.getoption("stores")
    kinds = frozenset(STORES) if named == "all" else frozenset(map(str.strip, named.split(",")))
    if unknown := kinds - set(STORES):
        raise pytest.UsageError(f"--stores: there is no {', '.join(sorted(unknown))}")
    return Selection(config.getoption("scope"), kinds)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take what the run wants, and tell several processes how to share it."""
    selection = _selection(config)
    left_out = [item for item in items if not selection.takes(item)]
    if left_out:
        config.stash[_LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if selection.takes(item)]
    if hasattr(config, "workerinput"):
        items[:] = begin_with_the_slow(items)
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    """Say how to get what was left out."""
    left_out = config.stash.get(_LEFT_OUT, 0)
    scope: Scope = config.getoption("scope")
    return f"{left_out} tests are not of the scope {scope}: --scope all" if left_out else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hold a test to its budget."""
    began = time.process_time()
    yield
    cost_s, limit_s = time.process_time() - began, budget.limit_s(item)
    if cost_s > limit_s:
        pytest.fail(
            f"it took {cost_s:.1f} s of CPU time, more than {limit_s} s: make it cheaper,"
            " or mark it thorough",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Every kind of Redis, each started when a test first asks for it."""
    stores = Stores()
    yield stores
    stores.close()
