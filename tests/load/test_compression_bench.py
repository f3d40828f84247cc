"""The clients that read compressed frames count what a server sent, and miss what it did not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import pytest

from tests.load.compression import DOCUMENT_BYTES, documents
from tests.load.fake_server import serving

_TIMEOUT_S = 20


@contextlib.asynccontextmanager
async def clients(port: int, *options: str) -> AsyncIterator[Process]:
    """Run three clients, subscribed when this yields."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.deflate_clients"),
        *("--port", str(port), "--clients", "3", *options),
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            assert json.loads(await process.stdout.readline()) == {"event": "ready"}
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def counted(process: Process, publications: int) -> dict[str, int]:
    """Expect so many, and return what the clients counted."""
    output, _ = await process.communicate(b"expect %d\n" % publications)
    counts: dict[str, int] = json.loads(output)
    return counts


@pytest.mark.parametrize("pad", [0, 1_000, 70_000], ids=["short", "16 bits", "64 bits"])
async def test_every_publication_is_counted_in_plain_frames(pad: int) -> None:
    """Whatever the length of a frame, its publications and bytes are counted."""
    async with serving() as server, clients(server.port) as process:
        await server.ping()
        await server.publish(7, per_frame=3, pad=pad)
        counts = await counted(process, 7)
        assert [client.pongs for client in server.clients] == [1] * 3
    assert counts["publications"] == 3 * 7
    assert (counts["frames"], counts["compressed_frames"]) == (3 * 3, 0)
    assert counts["bytes"] > 3 * 7 * pad
    assert (counts["complete"], counts["lost"]) == (3, 0)


async def test_every_publication_is_counted_in_compressed_frames() -> None:
    """The same, in fewer bytes."""
    async with serving() as server, clients(server.port, "--compress") as process:
        await server.publish(7, per_frame=3, pad=1_000)
        counts = await counted(process, 7)
    assert counts["publications"] == 3 * 7
    assert (counts["frames"], counts["compressed_frames"]) == (3 * 3, 3 * 3)
    assert 0 < counts["bytes"] < 3 * 7 * 1_000 / 5
    assert counts["complete"] == 3


def test_documents_are_of_the_announced_size_and_each_its_own() -> None:
    """What is published is the same in every run, and nothing that one deflate had seen before."""
    made = [json.dumps(document) for document in documents(50)]
    assert made == [json.dumps(document) for document in documents(50)]
    assert len(set(made)) == 50
    assert all(DOCUMENT_BYTES <= len(text) < 1.2 * DOCUMENT_BYTES for text in made)
