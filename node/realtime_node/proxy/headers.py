"""Which of a client's headers a backend gets. Pure.

A connection keeps those that some proxy names and nothing else; each proxy passes on its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from realtime_node.proxy.backend import Headers

MAX_KEPT: Final = 16_384
"""Bytes of headers that are kept for one connection."""


class Kept(NamedTuple):
    """The headers of one client: those of its handshake, and those of its connect command."""

    http: Headers = ()
    emulated: Headers = ()


NOTHING_KEPT: Final = Kept()


class TooManyHeadersError(ValueError):
    """What would have to be kept is more than may be."""


def pick(headers: Iterable[tuple[str, str]], names: Collection[str]) -> Headers:
    """Return the headers that are named, in lower case, as far as HTTP can carry them.

    Raises `TooManyHeadersError`.
    """
    if not names:
        return ()
    picked = tuple(
        (name.lower(), value)
        for name, value in headers
        if name.lower() in names and _can_be_sent(value)
    )
    if sum(len(name) + len(value) for name, value in picked) > MAX_KEPT:
        raise TooManyHeadersError
    return picked


def _can_be_sent(value: str) -> bool:
    """Whether a value is text in one line: bytes of no encoding cannot be written again."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return not any(character in value for character in "\r\n\0")


class HeaderRule(NamedTuple):
    """What a proxy passes on."""

    http: Collection[str] = ()
    emulated: Collection[str] = ()
    static: Mapping[str, str] = {}

    def apply(self, kept: Kept) -> Headers:
        """Return the headers of a request.

        Those of the handshake go before those that a client made up, and both before static ones.
        """
        http = [header for header in kept.http if header[0] in self.http]
        taken = {name for name, _ in http}
        emulated = [(n, v) for n, v in kept.emulated if n in self.emulated and n not in taken]
        taken.update(name for name, _ in emulated)
        static = [(name, value) for name, value in self.static.items() if name.lower() not in taken]
        return (*static, *emulated, *http)
