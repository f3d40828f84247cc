"""A client that sees the protocol as it is on the wire: JSON objects in text frames.

Unlike an SDK it never answers, retries or reorders by itself, so a test can send what no SDK would
and assert on every message that came back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec

from tests.support.conditions import NEVER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PING: dict[str, Any] = {}


class Refused(Exception):
    """The server answered the handshake with an HTTP status instead of an upgrade."""

    def __init__(self, status: int) -> None:
        """Carry the HTTP status."""
        super().__init__(f"handshake refused with HTTP {status}")
        self.status = status


class WireClient:
    """One WebSocket connection. Messages wait in `inbox` in the order of their arrival.

    The last message of a connection that ended is `{"close": {"code": …, "reason": …}}`; code 1006
    means that no close frame came.
    """

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse):
        """Read from a connection made by `open`."""
        self.inbox: deque[dict[str, Any]] = deque()
        self.closed = False
        self.answers_pings = True
        self._session = session
        self._socket = socket
        self._arrived = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Connect to a WebSocket URL.

        Raises:
            Refused: the server answered with an HTTP status.
            aiohttp.ClientError: nobody answered.
        """
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(
                url,
                protocols=subprotocols,
                headers=headers,
                autoclose=False,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=5),
            )
        except aiohttp.WSServerHandshakeError as refusal:
            await session.close()
            raise Refused(refusal.status) from None
        except BaseException:
            await session.close()
            raise
        return cls(session, socket)

    async def send(self, *commands: Mapping[str, Any]) -> None:
        """Send commands, pipelined in one frame."""
        await self.send_text(b"\n".join(map(msgspec.json.encode, commands)).decode())

    async def send_text(self, text: str) -> None:
        """Send a text frame as it is. What the server thinks of it arrives in `inbox`."""
        with contextlib.suppress(ConnectionError):
            await self._socket.send_str(text)

    async def send_binary(self, data: bytes) -> None:
        """Send a binary frame."""
        with contextlib.suppress(ConnectionError):
            await self._socket.send_bytes(data)

    async def next(self, *, within_s: float = NEVER_S) -> dict[str, Any]:
        """Take the next message.

        Raises:
            AssertionError: none came within `within_s` seconds.
        """
        assert await self.has(1, within_s=within_s), f"no message within {within_s} s"
        return self.inbox.popleft()

    async def has(self, count: int, *, within_s: float = NEVER_S) -> bool:
        """Return whether `count` messages wait in `inbox`, at the latest in `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self.inbox) < count and not self.closed:
                    self._arrived.clear()
                    await self._arrived.wait()
        return len(self.inbox) >= count

    async def call(
        self, command: Mapping[str, Any], *, within_s: float = NEVER_S
    ) -> dict[str, Any]:
        """Send one command and take its reply; what came before it stays in `inbox`.

        If the connection ends instead, its end is returned and stays in `inbox` too.
        """
        await self.send(command)
        before = []
        while (message := await self.next(within_s=within_s)).get("id") != command["id"]:
            before.append(message)
            if "close" in message:
                break
        self.inbox.extendleft(reversed(before))
        return message

    async def drop(self) -> None:
        """End the connection without a word, as a lost network does."""
        transport = self._socket.get_extra_info("socket")
        if transport is not None and self._socket._conn is not None:
            assert self._socket._conn.transport is not None
            self._socket._conn.transport.abort()
        await self.close()

    async def close(self) -> None:
        """End the connection in order, if it has not ended."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        with contextlib.suppress(ConnectionError):
            await self._socket.close()
        await self._session.close()

    async def __aenter__(self) -> Self:
        """Stay connected within the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _read(self) -> None:
        while not self.closed:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    for line in message.data.split("\n"):
                        await self._take(msgspec.json.decode(line))
                case aiohttp.WSMsgType.CLOSE:
                    self._end(message.data, message.extra)
                case aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.ERROR:
                    self._end(1006, "")
                case _:
                    await self._take({"frame": message.type.name})

    async def _take(self, message: dict[str, Any]) -> None:
        if message == _PING:
            if self.answers_pings:
                await self.send(_PING)
            return
        self.inbox.append(message)
        self._arrived.set()

    def _end(self, code: int, reason: str | None) -> None:
        self.inbox.append({"close": {"code": code, "reason": reason or ""}})
        self.closed = True
        self._arrived.set()
