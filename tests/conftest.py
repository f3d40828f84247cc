"""What all suites share: the servers that their tests do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator


# How long an example takes says something of the machine, and of the tests that run beside it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Every kind of Redis, each started when a test first asks for it."""
    stores = Stores()
    yield stores
    stores.close()
