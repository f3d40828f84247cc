"""Whose handshake it is: the client's address, seen through the proxies that are trusted.

A proxy hides its clients behind its own address and writes theirs into a header. A client can write
that header, too, so it is believed only from a peer whose address is trusted, and only as far as
trusted proxies wrote it: each appends the address it was called from, so what is right of the last
untrusted one is true, and what is left of it is anybody's invention. For the same reason exactly
one header is read, the one that the proxies are known to write: another passes through them
unchanged. Pure, and hostile values only ever cost the client its own address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST_HOPS: Final = 16
"""Proxies between a client and us that are looked at."""
SUBNET_BYTES: Final = 8
"""Of an IPv6 address: a client has all addresses of its /64."""


def parse_address(text: str) -> Address | None:
    """Read an address as peers and proxies write it: with a port or not, in brackets or quotes."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_address(
    peer: str, written: Iterable[str], trusted: Sequence[Network], *, is_forwarded: bool = False
) -> Address | None:
    """Return whose request it is, or None if even the peer has no address (a Unix socket).

    `written` are all lines of the one header that proxies write, in their order; `is_forwarded`
    says that it is RFC 7239's. What a trusted proxy wrote that is no address ("unknown") hides the
    client behind that proxy.
    """
    address = parse_address(peer)
    if address is None or not _is_among(address, trusted):
        return address
    hops = [hop for line in written for hop in line.split(",")]
    for hop in hops[: -MOST_HOPS - 1 : -1]:
        before = parse_address(_forwarded_for(hop) if is_forwarded else hop)
        if before is None:
            return address
        address = before
        if not _is_among(address, trusted):
            return address
    return address


def bucket_key(address: Address) -> bytes:
    """Return what clients of one origin have in common: an IPv4 address, or an IPv6 /64."""
    return address.packed if isinstance(address, IPv4Address) else address.packed[:SUBNET_BYTES]


def _forwarded_for(hop: str) -> str:
    """Return the `for` of one element of a `Forwarded` header, empty if it has none."""
    for pair in hop.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value
    return ""


def _is_among(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
