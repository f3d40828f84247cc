"""Where a handshake comes from, seen through proxies."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.admission.addresses import (
    MOST_HOPS,
    bucket_key,
    client_address,
    parse_address,
)

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2", None),
        ("192.0.2.256", None),
        ("[", None),
        ("\u0661.\u0661.\u0661.\u0661", None),
        ("\udcff", None),
    ],
)
def test_an_address_in_every_form(text: str, address: str | None) -> None:
    """As peers have it and as proxies write it; anything else is none."""
    assert parse_address(text) == (None if address is None else ip_address(address))


@pytest.mark.parametrize(
    ("peer", "written", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7, 10.1.1.1"], "198.51.100.7"),
        ("10.0.0.1", ["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, unknown, 10.1.1.1"], "10.1.1.1"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["', DROP TABLE", "\x00"], "10.0.0.1"),
        ("", ["198.51.100.7"], None),
    ],
)
def test_the_rightmost_address_that_is_not_trusted(
    peer: str, written: list[str], client: str | None
) -> None:
    """Only trusted proxies are believed, and only about who called them."""
    expected = None if client is None else ip_address(client)
    assert client_address(peer, written, TRUSTED) == expected


def test_nobody_is_trusted_unless_named() -> None:
    """Without trusted proxies the peer is the client."""
    assert str(client_address("10.0.0.1", ["198.51.100.7"], ())) == "10.0.0.1"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('For="[2001:db8::7]:4711";proto=https;by=10.0.0.1', "2001:db8::7"),
        ("proto=https;for=198.51.100.7", "198.51.100.7"),
        ("for=203.0.113.9, for=198.51.100.7;by=_x, for=10.1.1.1", "198.51.100.7"),
        ("for=_hidden", "10.0.0.1"),
        ("by=198.51.100.7", "10.0.0.1"),
    ],
)
def test_forwarded_as_rfc_7239_has_it(line: str, client: str) -> None:
    """The `for` of each element is the address."""
    found = client_address("10.0.0.1", [line], TRUSTED, is_forwarded=True)
    assert str(found) == client


def test_hops_are_bounded() -> None:
    """A header of thousands of trusted addresses is not walked to its end."""
    line = ",".join(["198.51.100.7", *["10.1.1.1"] * MOST_HOPS])
    assert str(client_address("10.0.0.1", [line], TRUSTED)) == "10.1.1.1"


@given(st.lists(st.text()), st.booleans())
def test_hostile_headers_neither_crash_nor_spoof(written: list[str], is_forwarded: bool) -> None:
    """Whatever stands left of what the proxy appended, the client is whom the proxy named."""
    appended = "for=198.51.100.7" if is_forwarded else "198.51.100.7"
    found = client_address("10.0.0.1", [*written, appended], TRUSTED, is_forwarded=is_forwarded)
    assert str(found) == "198.51.100.7"
    assert client_address("192.0.2.1", written, TRUSTED) == ip_address("192.0.2.1")


def test_an_ipv6_client_is_known_by_its_network() -> None:
    """All addresses of a /64 share a bucket, which no IPv4 address has."""
    keys = [
        bucket_key(ip_address(text))
        for text in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "32.1.13.184")
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
