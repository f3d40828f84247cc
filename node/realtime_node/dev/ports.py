"""Ports that stay ours for as long as the cluster runs, whichever node listens on them.

A reserved port is bound but not listened on, so it takes no connection away from the nodes, which
bind it too (SO_REUSEPORT). No other program can come between a node's death and its restart, and a
second cluster on the same port, which the kernel would let share it, is noticed.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from realtime_node.dev.errors import DevClusterError

LOOPBACK: Final = "127.0.0.1"


def reserve(address: str, port: int) -> socket.socket:
    """Reserve a port of an address (empty: of all interfaces); 0 leaves the choice to the kernel.

    Raises `DevClusterError` if it is taken or not ours to use. Close the socket to free it.
    """
    if port:
        # Only without SO_REUSEPORT does the kernel tell that somebody else shares a port.
        _bind(address, port, shared=False).close()
    return _bind(address, port, shared=True)


def port_of(reservation: socket.socket) -> int:
    """Return the number of a reserved port."""
    port: int = reservation.getsockname()[1]
    return port


def _bind(address: str, port: int, *, shared: bool) -> socket.socket:
    where = f"port {port} of {address or 'this machine'}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise DevClusterError(
            f"http_server.address is {address!r}, no address of this machine: {error.strerror}"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        # As the nodes do: connections that just ended do not make a port taken.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(place)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise DevClusterError(
                f"{where} is taken by another program: end that, or choose another port with"
                " --port (0: any free one)"
            ) from error
        if error.errno == errno.EACCES:
            raise DevClusterError(
                f"{where} is for administrators: choose one above 1023 with --port"
            ) from error
        raise DevClusterError(f"{where} cannot be used: {error.strerror}") from error
    return bound
