"""Clients that count bytes, and may ask for compression: wsload has no decompressor.

    python -m tests.load.deflate_clients --port P [--clients N] [--compress]

A program of its own, so that it can be kept off the server's core. It prints "ready" once all
clients are subscribed to the channel `bench`, takes "expect N" from standard input, prints one JSON
object when every client has received N publications or the time is over, and ends. Every client
reads everything: what a server did not compress well is found here and not by its users.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import sys
import zlib
from typing import Final, NamedTuple

import uvloop

_TIME_S: Final = 60.0
_AT_ONCE: Final = 100  # clients that connect at the same time
_COMPRESSED: Final = 0x40
_EXTENDED_LENGTH: Final = {126: 2, 127: 8}  # bytes of it, by what stands in its place
_UNMASKED: Final = b"\x00\x00\x00\x00"  # a mask of zeros is a valid mask
_OFFER: Final = (
    "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover;"
    " server_no_context_takeover\r\n"
)
_HANDSHAKE: Final = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)


class Counts(NamedTuple):
    """What the clients received of publications, all together."""

    publications: int
    frames: int
    compressed_frames: int
    bytes: int  # of these frames with their headers


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, tally: Tally, *, compress: bool) -> None:
        self.publications = 0
        self._tally = tally
        self._compress = compress
        self._received = b""
        self._is_upgraded = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = transport  # type: ignore[assignment] # uvloop's have another base
        self._write(f"{_HANDSHAKE}{_OFFER if self._compress else ''}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what came."""
        data = self._received + data
        if not self._is_upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._received = head
                return
            agreed = b"permessage-deflate" in head
            if not head.startswith(b"HTTP/1.1 101 ") or agreed is not self._compress:
                sys.exit(f"the server answered {head.decode()!r}")
            self._is_upgraded = True
            self._say(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"bench"}}')
        start = 0
        while (end_of_frame := self._frame_end(data, start)) <= len(data):
            self._take(data, start, end_of_frame)
            start = end_of_frame
        self._received = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Be missed in the counts."""
        del exc
        self._tally.lost += 1

    @staticmethod
    def _frame_end(data: bytes, start: int) -> int:
        """Return where the frame at `start` ends; beyond the data if that is not known yet."""
        if len(data) < start + 2:
            return len(data) + 1
        length = data[start + 1]
        extended = _EXTENDED_LENGTH.get(length, 0)
        body = start + 2 + extended
        if len(data) < body:
            return body
        return body + (int.from_bytes(data[start + 2 : body], "big") if extended else length)

    def _take(self, data: bytes, start: int, end: int) -> None:
        payload = data[start + 2 + _EXTENDED_LENGTH.get(data[start + 1], 0) : end]
        is_compressed = bool(data[start] & _COMPRESSED)
        if is_compressed:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        if payload == b"{}":
            self._say(b"{}")
            return
        publications = payload.count(b'"pub":{')
        if publications:
            self.publications += publications
            self._tally.add(self, publications, end - start, is_compressed=is_compressed)
        elif b'"id":2' in payload:
            self._tally.subscribed(payload)

    def _say(self, payload: bytes) -> None:
        self._write(bytes([0x81, 0x80 | len(payload)]) + _UNMASKED + payload)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


class Tally:
    """What all clients have seen."""

    def __init__(self, clients: int) -> None:
        self.lost = 0
        self._missing = clients
        self._counts = [0, 0, 0, 0]
        self._expected = 0
        self._clients = clients
        self._complete: set[Client] = set()
        self.all_subscribed = asyncio.Event()
        self.all_complete = asyncio.Event()

    def subscribed(self, reply: bytes) -> None:
        """Note that a subscribe was answered."""
        if b'"error"' in reply:
            sys.exit(f"a client could not subscribe: {reply.decode()}")
        self._missing -= 1
        if not self._missing:
            self.all_subscribed.set()

    def add(self, client: Client, publications: int, size: int, *, is_compressed: bool) -> None:
        """Count a frame of publications."""
        for index, count in enumerate((publications, 1, int(is_compressed), size)):
            self._counts[index] += count
        self._look_at(client)

    def expect(self, publications: int, clients: list[Client]) -> None:
        """Be complete once each of the clients has so many."""
        self._expected = publications
        for client in clients:
            self._look_at(client)

    def _look_at(self, client: Client) -> None:
        if self._expected and client.publications == self._expected:
            self._complete.add(client)
            if len(self._complete) == self._clients:
                self.all_complete.set()

    @property
    def counts(self) -> Counts:
        """The sums."""
        return Counts(*self._counts)

    @property
    def complete(self) -> int:
        """Clients that have everything once."""
        return len(self._complete)


def _same(client: Client) -> Client:
    return client


async def _run(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    tally = Tally(arguments.clients)
    clients = [Client(tally, compress=arguments.compress) for _ in range(arguments.clients)]
    for start in range(0, len(clients), _AT_ONCE):
        await asyncio.gather(
            *(
                loop.create_connection(
                    functools.partial(_same, client), "127.0.0.1", arguments.port
                )
                for client in clients[start : start + _AT_ONCE]
            )
        )
    async with asyncio.timeout(_TIME_S):
        await tally.all_subscribed.wait()
    print(json.dumps({"event": "ready"}), flush=True)
    line = await loop.run_in_executor(None, sys.stdin.readline)
    tally.expect(int(line.removeprefix("expect ")), clients)
    with contextlib.suppress(TimeoutError):  # the counts say how many were not
        async with asyncio.timeout(_TIME_S):
            await tally.all_complete.wait()
    print(json.dumps({**tally.counts._asdict(), "complete": tally.complete, "lost": tally.lost}))


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--compress", action="store_true", help="offer permessage-deflate")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
