"""What all suites share: the servers that their tests do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Every kind of Redis, each started when a test first asks for it."""
    stores = Stores()
    yield stores
    stores.close()
