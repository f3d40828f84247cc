"""The buffers between the node and a client's network, bounded.

What the kernel has accepted looks sent: left to itself it takes megabytes for a client that reads
nothing, so that the client seems healthy and is handed stale data when it wakes. Linux knows two
bounds: how much the kernel takes at all, and how little of it may be unsent before it asks for
more.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio import BaseTransport, WriteTransport
from typing import Final, NamedTuple, cast

_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: on, for no time
_COUNT: Final = struct.Struct("i")


class BufferBounds(NamedTuple):
    """How much may be on its way to one client, in bytes; 0 leaves a bound to the kernel."""

    high_water: int
    """In the transport, before the client counts as congested."""
    send_buffer: int
    """In the kernel (SO_SNDBUF). It keeps twice as much, for its own books."""
    unsent: int
    """Of that, not yet sent when the kernel asks for more (TCP_NOTSENT_LOWAT)."""


def bound_buffers(transport: WriteTransport, bounds: BufferBounds) -> None:
    """Bound what is on its way to one client."""
    if bounds.high_water:
        transport.set_write_buffer_limits(high=bounds.high_water)
    connection = _socket(transport)
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if bounds.send_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bounds.send_buffer)
    if bounds.unsent:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, bounds.unsent)


def unsent_bytes(transport: WriteTransport) -> int:
    """Return what a client has not taken of what was written: in the transport and the kernel."""
    waiting = transport.get_write_buffer_size()
    connection = _socket(transport)
    if connection is not None and connection.fileno() >= 0:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_COUNT.size))
        waiting += _COUNT.unpack(answer)[0]
    return waiting


def reset_on_close(transport: BaseTransport) -> None:
    """Let the kernel drop what it holds for a client once the transport is closed.

    Otherwise it would keep it, and try, for minutes.
    """
    connection = _socket(transport)
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _socket(transport: BaseTransport) -> socket.socket | None:
    return cast("socket.socket | None", transport.get_extra_info("socket"))
