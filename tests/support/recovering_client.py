"""A subscriber that comes back, as the SDKs do, but light enough to have hundreds in one process.

After a lost connection it waits a moment with full jitter, goes to the next of its addresses and
sends connect and subscribe in one frame, with the position it has. Unsubscribed with a code from
2500 on, or refused for the moment, it subscribes again on the same connection. All it ever got is
in its `reading`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.support.ledger import Reading
from tests.support.wire_client import Refused, WireClient

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_DELAY_S: Final = 0.5
_REPLY_WITHIN_S: Final = 5.0


class RecoveringClient:
    """Subscribes to one channel with recovery until it is closed."""

    def __init__(self, urls: Sequence[str], token: str, channel: str) -> None:
        """Know these addresses and begin with the first of them."""
        self.reading = Reading(channel)
        self.connections = 0
        self.closes: Counter[int] = Counter()
        """Codes with which connections ended; 1006 without one."""
        self.unsubscribes = 0
        """How often the node took the subscription away."""
        self.subscribed_at = 0.0
        """Monotonic time of the last successful subscribe."""
        self.url = ""
        """The node that the client is on; empty while it is on none."""
        self._urls = list(urls)
        self._token = token
        self._epoch = ""
        self._offset = 0
        self._random = random.Random(token)  # noqa: S311 - jitter
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
                    self.closes[await self._stay(wire)] += 1
            self.url = ""
            self._urls.append(self._urls.pop(0))
            await self._jitter()

    async def _stay(self, wire: WireClient) -> int:
        """Follow the channel over one connection; return the code that ended it."""
        await wire.send({"id": 1, "connect": {"token": self._token}}, self._subscribe())
        while await wire.has(1, within_s=float("inf") if self.url else _REPLY_WITHIN_S):
            message = wire.inbox.popleft()
            match message:
                case {"push": {"pub": publication}}:
                    self._take(publication)
                case {"id": 1, "connect": _}:
                    self.connections += 1
                case {"id": 2, "subscribe": result}:
                    self._subscribed(result)
                    self.url = self._urls[0]
                case {"push": {"unsubscribe": {"code": code}}} if code >= 2500:
                    self.unsubscribes += 1
                    await wire.send(self._subscribe())
                case {"id": 2, "error": {"temporary": True}}:
                    await self._jitter()
                    await wire.send(self._subscribe())
                case {"close": {"code": code}} if not 3500 <= code < 4000:
                    return int(code)
                case _:
                    raise AssertionError(f"unexpected on {self.reading.channel}: {message}")
        return 1006

    async def _jitter(self) -> None:
        await asyncio.sleep(self._random.uniform(0, _LONGEST_DELAY_S))

    def _subscribe(self) -> dict[str, Any]:
        request: dict[str, Any] = {"channel": self.reading.channel}
        if self._epoch:
            request |= {"recover": True, "epoch": self._epoch, "offset": self._offset}
        return {"id": 2, "subscribe": request}

    def _subscribed(self, result: dict[str, Any]) -> None:
        offset = result.get("offset", 0)
        self.reading.subscribed(result["epoch"], offset, recovered=result.get("recovered", False))
        self._epoch = result["epoch"]
        publications = result.get("publications", ())
        for publication in publications:
            self._take(publication)
        if not publications:
            self._offset = offset
        self.subscribed_at = time.monotonic()

    def _take(self, publication: dict[str, Any]) -> None:
        self.reading.took(publication["offset"], publication["data"])
        self._offset = publication["offset"]
