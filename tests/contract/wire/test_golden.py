"""Our node holds the same conversations as the server that the SDKs were written for.

The golden files are played as they are, whatever engine is behind the node. What is meant to be
different is listed in `differences`, and a row there that is no longer true fails as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.contract.wire.conversation import Player
from tests.contract.wire.differences import DELIBERATE
from tests.contract.wire.scripts import CONVERSATIONS
from tests.contract.wire.servers import settings
from tests.contract.wire.transcripts import GOLDEN, describe, differences, read
from tests.support.node_process import NodeProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contract.wire.conversation import Transcript
    from tests.support.redis_server import RedisServer

_GOLDEN = {path.stem: read(path) for path in sorted(GOLDEN.glob("*.json"))}
# One object for each node: pytest keeps a fixture only while its parameter is the same object.
_NODES = [
    (server, engine)
    for server in sorted({golden.server for golden in _GOLDEN.values()})
    for engine in ("memory", "redis")
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[NodeProcess]:
    """A node with the settings and the engine that the parameter names."""
    server, engine = request.param
    directory: Path = tmp_path_factory.mktemp(f"{server}-{engine}")
    engine_settings: dict[str, Any] = {"type": engine}
    if engine == "redis":
        redis_server: RedisServer = request.getfixturevalue("redis_server")
        engine_settings["redis"] = {"address": redis_server.url, "prefix": f"golden-{server}"}
    async with NodeProcess({**settings(server), "engine": engine_settings}, directory) as process:
        yield process


@pytest.mark.parametrize(
    ("node", "golden"),
    [
        pytest.param(node, golden, id=f"{node[1]}-{name}")
        for node in _NODES
        for name, golden in _GOLDEN.items()
        if golden.server == node[0]
    ],
    indirect=["node"],
)
async def test_our_node_says_what_the_recorded_server_said(
    node: NodeProcess, golden: Transcript
) -> None:
    """Every golden conversation comes out the same, but for the differences that are listed."""
    found = differences(golden, await Player(node).replay(golden))
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
