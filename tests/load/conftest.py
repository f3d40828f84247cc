"""What the tests of several load tools need; all of them are thorough ones."""

from __future__ import annotations

import pytest

from tests.load.tools import Tools, build_tools
from tests.support.prerequisites import require


def pytest_itemcollected(item: pytest.Item) -> None:
    """Benchmarks change less often than what they measure."""
    if not item.get_closest_marker("load"):
        item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The tools, compiled anew: their build accepts no warning."""
    require("gcc", fix="apt-get install gcc libc6-dev")
    return build_tools(tmp_path_factory.mktemp("tools"))
