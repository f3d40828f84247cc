"""Clients of a node in its own process: no socket, and everything else as for any other client.

A WebSocket is opened on a transport in memory, whose `write` takes as long as that of a socket. So
tens of thousands of clients need neither files nor another process, and what the node does for them
costs what it would cost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import msgspec

from realtime_node.app import Node
from realtime_node.protocol.deflate import UNCOMPRESSED
from realtime_node.proxy.headers import NOTHING_KEPT
from realtime_node.server.handshake import Accepted

WRITE_S: Final = 5e-6
"""What one write of uvloop to a socket takes, by `unbatched` of `make bench`."""
PER_PASS: Final = 50
"""Members that send something, or end, in one pass: as many as the waiting room lets in."""
OUTSTANDING: Final = 1_000
"""Members whose commands are on their way to the store at once."""

_UPGRADED: Final = Accepted(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "", UNCOMPRESSED)
_EXTENDED_16_FROM: Final = 126
_EXTENDED_64_FROM: Final = 65_536
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)  # a mask of zeros changes nothing

Command = dict[str, Any]


class MemoryTransport(asyncio.Transport):
    """Takes frames, at the price of a socket; one that is stalled keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.frames = 0
        self.last = b""
        self.is_stalled = False
        self._buffered = 0
        self._high_water = 65_536
        self._is_closing = False
        self.on_frame: Callable[[], None] | None = None

    def write(self, data: Any) -> None:
        """Take a frame."""
        until = time.perf_counter() + WRITE_S
        self.frames += 1
        self.last = data
        if self.is_stalled:
            was_full = self._buffered > self._high_water
            self._buffered += len(data)
            if self._buffered > self._high_water and not was_full:
                self.protocol.pause_writing()
        if self.on_frame is not None:
            self.on_frame()
        if data[0] == _CLOSE and not self.is_stalled:
            _Endings.of_loop().add(self)  # the client says goodbye as well
        while time.perf_counter() < until:
            pass

    def set_protocol(self, protocol: Any) -> None:
        """Tell `protocol` from now on."""
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of a socket that is not there."""
        del name
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Be full beyond `high` bytes."""
        del low
        self._high_water = high or self._high_water

    def get_write_buffer_size(self) -> int:
        """Bytes that a stalled client has not taken."""
        return self._buffered

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._is_closing

    def close(self) -> None:
        """Close in one of the next passes."""
        self.abort()

    def abort(self) -> None:
        """Close in one of the next passes."""
        if not self._is_closing:
            self._is_closing = True
            _Endings.of_loop().add(self)

    def end(self) -> None:
        """Tell the protocol, once, that the transport is gone."""
        if self.protocol is not None:
            protocol, self.protocol = self.protocol, None
            self._is_closing = True
            protocol.connection_lost(None)


class _Endings:
    """Transports that end, a few in each pass of the loop: clients do not all go in one moment."""

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Endings]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiting: deque[MemoryTransport] = deque()

    @classmethod
    def of_loop(cls) -> _Endings:
        """Return those of the running loop."""
        return cls._by_loop.setdefault(asyncio.get_running_loop(), cls())

    def add(self, transport: MemoryTransport) -> None:
        """Let a transport end in its turn."""
        self._waiting.append(transport)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._end_some)

    def _end_some(self) -> None:
        for _ in range(min(PER_PASS, len(self._waiting))):
            self._waiting.popleft().end()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._end_some)


class Member:
    """One client in memory."""

    def __init__(self, node: Node) -> None:
        """Open its WebSocket."""
        self.transport = MemoryTransport()
        node._websockets._open(self.transport, _UPGRADED, b"", kept=NOTHING_KEPT)

    def send(self, *commands: Command) -> None:
        """Send commands in one frame."""
        payload = b"\n".join(map(msgspec.json.encode, commands))
        self.transport.protocol.data_received(frame_of(payload))

    async def ask(self, *commands: Command, frames: int = 1) -> bytes:
        """Send commands, and return the last of so many frames that answer them."""
        answered = asyncio.Event()
        wanted = self.transport.frames + frames

        def look() -> None:
            if self.transport.frames >= wanted:
                answered.set()

        self.transport.on_frame = look
        self.send(*commands)
        await answered.wait()
        self.transport.on_frame = None
        return self.transport.last


async def join(
    node: Node, count: int, commands_of: Callable[[int], Sequence[Command]]
) -> list[Member]:
    """Return so many new members, each of which was answered what `commands_of` its number."""
    members: list[Member] = []
    while len(members) < count:
        part = [Member(node) for _ in range(min(OUTSTANDING, count - len(members)))]
        await ask_all(part, (commands_of(len(members) + i) for i in range(len(part))))
        members += part
    return members


async def ask_all(members: Sequence[Member], commands: Iterable[Sequence[Command]]) -> None:
    """Let members send commands, a few in each pass of the loop; return when all are answered."""
    asking = []
    for number, (member, sent) in enumerate(zip(members, commands, strict=True), start=1):
        # One reply a frame.
        asking.append(asyncio.ensure_future(member.ask(*sent, frames=len(sent))))
        if number % PER_PASS == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*asking)


def connecting(token: str = "", **request: Any) -> Command:
    """The first command of a client."""
    return {"id": 1, "connect": {"token": token, **request} if token else request}


def subscribing(channel: str, **request: Any) -> Command:
    """The second."""
    return {"id": 2, "subscribe": {"channel": channel, **request}}


def frame_of(payload: bytes) -> bytes:
    """Return a frame as a client sends it."""
    size = len(payload)
    if size < _EXTENDED_16_FROM:
        head = bytes((_TEXT, _MASKED | size))
    elif size < _EXTENDED_64_FROM:
        head = bytes((_TEXT, _MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_TEXT, _MASKED | 127)) + size.to_bytes(8, "big")
    return head + _NO_MASK + payload
