"""What compression saves and what it costs: the same publications, with and without.

One run measures both, one after the other on servers started anew, and tells their ratios; the
publications are the same JSON documents, of the kind that applications send, none like another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from tests.load import machine, servers
from tests.load.generators import GeneratorError
from tests.load.results import Compressing
from tests.load.scenarios import CLIENTS, Lab
from tests.load.servers import API_KEY, Kind

PER_S: Final = 20
DOCUMENT_BYTES: Final = 1024
_SEED: Final = 20
_PATIENCE_S: Final = 90.0


@dataclasses.dataclass(frozen=True)
class _Run:
    bytes_per_delivery: float
    us_per_delivery: float
    whole_percent: float


async def compressing(lab: Lab, kind: Kind) -> Compressing:
    """Deliver documents of 1 KB to 1,000 clients, first plain, then compressed."""
    plain, compressed = [await _measure(lab, kind, compress=compress) for compress in (False, True)]
    return Compressing(
        bytes_ratio=compressed.bytes_per_delivery / plain.bytes_per_delivery,
        cpu_ratio=compressed.us_per_delivery / plain.us_per_delivery,
        plain_bytes=plain.bytes_per_delivery,
        compressed_bytes=compressed.bytes_per_delivery,
        plain_us=plain.us_per_delivery,
        compressed_us=compressed.us_per_delivery,
        whole_percent=min(plain.whole_percent, compressed.whole_percent),
    )


def documents(count: int) -> list[dict[str, Any]]:
    """Return orders of about 1 KB of JSON each, the same ones every time."""
    dice = random.Random(_SEED)  # noqa: S311 - data of a benchmark
    return [_order(dice) for _ in range(count)]


def _order(dice: random.Random) -> dict[str, Any]:
    order: dict[str, Any] = {
        "id": f"{dice.getrandbits(64):016x}",
        "type": "order.updated",
        "customer": {"id": dice.randrange(10**6), "tier": dice.choice(("basic", "plus", "pro"))},
        "at": 1_800_000_000 + dice.randrange(10**6),
        "lines": [],
    }
    while len(json.dumps(order)) < DOCUMENT_BYTES:
        line = {
            "sku": f"{dice.choice('ABCDEF')}-{dice.randrange(10**6):06}",
            "quantity": dice.randrange(1, 20),
            "price": round(dice.uniform(1, 500), 2),
            "in_stock": dice.random() < 0.8,
        }
        order["lines"].append(line)
    return order


async def _measure(lab: Lab, kind: Kind, *, compress: bool) -> _Run:
    sent = documents(round(PER_S * lab.seconds(10)))
    settings = {**dict(kind.extra_settings), "websocket": {"compression": compress}}
    kind = dataclasses.replace(kind, extra_settings=tuple(settings.items()))
    async with (
        servers.running(kind, lab.directory) as server,
        _clients(server.port, compress=compress) as clients,
    ):
        begun = server.clock()
        await _publish(server.port, sent)
        received = await _received(clients, len(sent))
        spent = server.clock() - begun
    return _Run(
        bytes_per_delivery=received["bytes"] / max(received["publications"], 1),
        us_per_delivery=spent.cpu / max(received["publications"], 1) * 1e6,
        whole_percent=100 * received["complete"] / CLIENTS,
    )


@contextlib.asynccontextmanager
async def _clients(port: int, *, compress: bool) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *machine.pinned(machine.GENERATOR_CORE),
        *(sys.executable, "-m", "tests.load.deflate_clients"),
        *("--port", str(port), "--clients", str(CLIENTS)),
        *(("--compress",) if compress else ()),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        await _line(process)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _received(clients: Process, publications: int) -> dict[str, int]:
    assert clients.stdin is not None
    clients.stdin.write(b"expect %d\n" % publications)
    received: dict[str, int] = json.loads(await _line(clients))
    return received


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise GeneratorError(f"the clients said nothing for {_PATIENCE_S:.0f} s") from None
    if not line:
        raise GeneratorError("the clients ended early; they say why above")
    return line


async def _publish(port: int, sent: list[dict[str, Any]]) -> None:
    """Publish at an even pace; what is late is sent at once."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with aiohttp.ClientSession(headers={"X-API-Key": API_KEY}) as session:
        for number, document in enumerate(sent):
            await asyncio.sleep(begun + number / PER_S - loop.time())
            url = f"http://127.0.0.1:{port}/api/publish"
            async with session.post(url, json={"channel": "bench", "data": document}) as answer:
                body = await answer.json(content_type=None)
                if answer.status != 200 or "error" in body:
                    raise GeneratorError(f"a publish was answered by {answer.status} {body}")
