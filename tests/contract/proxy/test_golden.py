"""A backend that was written for Centrifugo sees no difference, and neither do its clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.contract.proxy.playing import CONNECTS, STEPS, play
from tests.contract.proxy.record import GOLDEN

if TYPE_CHECKING:
    import pytest

_GOLDEN: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The conversation with our node."""
    return await play(tmp_path_factory.mktemp("golden"))


def test_the_backend_is_asked_the_same(played: dict[str, Any]) -> None:
    """Paths, bodies and headers of every question are Centrifugo's, in its order."""
    assert len(_GOLDEN["questions"]) > len(STEPS)
    assert played["questions"] == _GOLDEN["questions"]


def test_the_client_is_told_the_same(played: dict[str, Any]) -> None:
    """Replies, pushes and closes are Centrifugo's, whatever the backend answered."""
    assert len(_GOLDEN["received"]) == len(STEPS) + len(CONNECTS) + 3
    assert played["received"] == _GOLDEN["received"]
