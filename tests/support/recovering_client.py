"""A subscriber that comes back, as the SDKs do, but light enough to have hundreds in one process.

After a lost connection it waits a moment with full jitter, goes to the next of its addresses and
sends connect and subscribe in one frame, with the position it has. All it ever got is in `seen`, in
the order of its arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.wire_client import Refused, WireClient

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_DELAY_S = 0.5
_REPLY_WITHIN_S = 5.0


class RecoveringClient:
    """Subscribes to one channel with recovery until it is closed."""

    def __init__(self, urls: Sequence[str], token: str, channel: str) -> None:
        """Know these addresses and begin with the first of them."""
        self.channel = channel
        self.seen: list[tuple[int, Any]] = []
        """Offset and data of every publication that arrived."""
        self.first_offset = -1
        """The top of the stream when the client first subscribed; -1 before."""
        self.unrecovered = 0
        """How often the node could not bring what was missed."""
        self.connections = 0
        self.subscribed_at = 0.0
        """Monotonic time of the last successful subscribe."""
        self.url = ""
        """The node that the client is on; empty while it is on none."""
        self._urls = list(urls)
        self._token = token
        self._epoch = ""
        self._offset = 0
        self._random = random.Random(channel)  # noqa: S311 - jitter
        self._task = asyncio.create_task(self._run())

    @property
    def failure(self) -> BaseException | None:
        """What ended the client by itself, if anything did."""
        return self._task.exception() if self._task.done() else None

    async def close(self) -> None:
        """Leave."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Refused, aiohttp.ClientError, OSError):
                async with await WireClient.open(self._urls[0]) as wire:
                    await self._stay(wire)
            self.url = ""
            self._urls.append(self._urls.pop(0))
            await asyncio.sleep(self._random.uniform(0, _LONGEST_DELAY_S))

    async def _stay(self, wire: WireClient) -> None:
        request: dict[str, Any] = {"channel": self.channel}
        if self._epoch:
            request |= {"recover": True, "epoch": self._epoch, "offset": self._offset}
        await wire.send(
            {"id": 1, "connect": {"token": self._token}}, {"id": 2, "subscribe": request}
        )
        within_s = _REPLY_WITHIN_S
        while True:
            message = await wire.next(within_s=within_s)
            match message:
                case {"push": {"pub": publication}}:
                    self._take(publication)
                case {"id": 2, "subscribe": result}:
                    self._subscribed(result)
                    self.url = self._urls[0]
                    within_s = float("inf")
                case {"id": 1, "connect": _}:
                    self.connections += 1
                case {"close": {"code": code}} if not 3500 <= code < 4000:
                    return
                case _:
                    raise AssertionError(f"unexpected on {self.channel}: {message}")

    def _subscribed(self, result: dict[str, Any]) -> None:
        if self.first_offset < 0:
            self.first_offset = result.get("offset", 0)
        elif not result.get("recovered"):
            self.unrecovered += 1
        self._epoch = result["epoch"]
        publications = result.get("publications", ())
        for publication in publications:
            self._take(publication)
        if not publications:
            self._offset = result.get("offset", 0)
        self.subscribed_at = time.monotonic()

    def _take(self, publication: dict[str, Any]) -> None:
        self.seen.append((publication["offset"], publication["data"]))
        self._offset = publication["offset"]
