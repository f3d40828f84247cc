"""Our node holds the same conversations as the server that the SDKs were written for.

The golden files are played as they are, whatever engine is behind the node. What is meant to be
different is listed in `differences`, and a row there that is no longer true fails as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from tests.contract.wire.conversation import Player
from tests.contract.wire.differences import DELIBERATE, silences
from tests.contract.wire.scripts import CONVERSATIONS
from tests.contract.wire.servers import settings
from tests.contract.wire.transcripts import GOLDEN, describe, differences, read
from tests.support.node_process import NodeProcess
from tests.support.stores import on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from tests.contract.wire.conversation import Transcript
    from tests.support.stores import Stores

_GOLDEN = {path.stem: read(path) for path in sorted(GOLDEN.glob("*.json"))}


class Nodes:
    """The nodes of this module, each started when the first conversation needs it."""

    def __init__(self, directory: Path, stores: Stores) -> None:
        """Start nodes with settings and logs in `directory`."""
        self._directory = directory
        self._stores = stores
        self._started: dict[str, NodeProcess] = {}

    async def get(self, server: str, engine: str) -> NodeProcess:
        """Return the node with these settings on this engine."""
        name = f"{server}-{engine}"
        if name not in self._started:
            how: dict[str, Any] = {"type": "memory"}
            if engine != "memory":
                store = self._stores.get(engine)
                how = {"type": "redis", "redis": store.settings(f"golden-{server}")}
            node = NodeProcess({**settings(server), "engine": how}, self._directory, name=name)
            self._started[name] = node
            await node.start()
        return self._started[name]

    async def stop(self) -> None:
        """Stop all that were started."""
        for node in self._started.values():
            await node.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    """Nodes on memory, and on a store where a test asks for it."""
    nodes = Nodes(tmp_path_factory.mktemp("golden"), stores)
    yield nodes
    await nodes.stop()


_ENGINES: Final = ("memory", "redis")
_OTHER_STORES: Final = ("valkey", "redis cluster")
_STORED: Final = ("api-history", "history", "join", "presence", "publish", "recovery")
"""Conversations about what a store keeps or brings: only there can one store differ from another.

The rest waits for timers or tests what a node answers by itself, and is slow for nothing.
"""


def _cases() -> Iterator[ParameterSet]:
    for name, golden in _GOLDEN.items():
        stores = _OTHER_STORES if name.startswith(_STORED) else ()
        for engine in (*_ENGINES, *stores):
            case = f"{name}-{engine}"
            if engine == "memory":
                yield pytest.param(golden, engine, id=case)
            else:
                yield on(engine, golden, engine, id=case)


@pytest.mark.parametrize(("golden", "engine"), list(_cases()))
async def test_our_node_says_what_the_recorded_server_said(
    nodes: Nodes, golden: Transcript, engine: str
) -> None:
    """Every golden conversation comes out the same, but for the differences that are listed."""
    node = await nodes.get(golden.server, engine)
    found = differences(golden, await Player(node).replay(golden, silences(golden.name)))
    unexpected = [
        difference
        for difference in found
        if not any(row.covers(golden.name, difference) for row in DELIBERATE)
    ]
    assert not unexpected, describe(golden, unexpected)
    outdated = [
        row
        for row in DELIBERATE
        if row.conversation == golden.name
        and not any(row.covers(golden.name, difference) for difference in found)
    ]
    assert not outdated, f"these rows of differences.py are not true any more: {outdated}"


def test_every_conversation_is_recorded_as_it_is_scripted() -> None:
    """A script that was changed is recorded anew, and no recording outlives its script."""
    scripted = {conversation.name: conversation for conversation in CONVERSATIONS}
    recorded = {name: golden.conversation for name, golden in _GOLDEN.items()}
    assert recorded == scripted
