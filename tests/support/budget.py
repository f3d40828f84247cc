"""What a test may cost: so many seconds of its process's CPU time, whatever else the machine does.

Waiting costs nothing here; it has no budget but the patience of those who run the tests, to whom
`--durations` tells it. Properties cost what their examples do, and thorough tests what they must.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

UNIT_S: Final = 0.5
OTHER_S: Final = 3.0
_TOLERANCE: Final = 4
"""How much more a second of work may take where cores share caches and clocks are turned down."""


def limit_s(item: pytest.Item) -> float:
    """Return how many seconds of CPU time a test fails above; infinite where nothing is held."""
    if sys.gettrace() or any(map(item.get_closest_marker, ("thorough", "hypothesis", "load"))):
        return float("inf")
    return _TOLERANCE * (UNIT_S if item.nodeid.startswith("tests/unit/") else OTHER_S)
