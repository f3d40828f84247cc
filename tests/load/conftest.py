"""What the tests of several load tools need."""

from __future__ import annotations

import pytest

from tests.load.tools import Tools, build_tools
from tests.support.prerequisites import require


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The tools, compiled anew: their build accepts no warning."""
    require("gcc", fix="apt-get install gcc libc6-dev")
    return build_tools(tmp_path_factory.mktemp("tools"))
