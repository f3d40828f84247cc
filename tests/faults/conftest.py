"""All tests here are under load; the figures of each become a row of the table at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.figures import Figures, line, table

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE: Final = Path(__file__).parent
_TIMEOUT_S: Final = 180
_ROWS: Final = pytest.StashKey[list[tuple[str, Figures]]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave them out unless asked for, and give them the time they need."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.load)
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Callable[[str, Figures], None]:
    """Print the figures of a case and keep them for the table."""

    def keep(case: str, figures: Figures) -> None:
        sys.stdout.write(line(case, figures) + "\n")
        pytestconfig.stash.setdefault(_ROWS, []).append((case, figures))

    return keep


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the table, as it stands in the documentation."""
    if rows := config.stash.get(_ROWS, []):
        terminalreporter.section("faults")
        terminalreporter.write(table(rows))
