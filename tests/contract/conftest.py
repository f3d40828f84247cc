"""Each implementation of the backplane, for the suites that hold them to one contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.backplanes import Cluster, MemoryCluster
from tests.support.stores import ON_STORES, Stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["memory", *ON_STORES])
async def cluster(request: pytest.FixtureRequest, stores: Stores) -> AsyncIterator[Cluster]:
    """An empty cluster of nodes in memory, and on every kind of Redis."""
    made: Cluster = (
        MemoryCluster() if request.param == "memory" else stores.get(request.param).nodes()
    )
    yield made
    await made.close()
