"""A key that callers of an API and this node share, compared so that its time tells nothing."""

from __future__ import annotations

import hmac

from pydantic import SecretStr


class SharedKey:
    """What callers have to know; nobody does if it is empty."""

    def __init__(self, key: SecretStr) -> None:
        # As what callers send is: a key from a file often ends in a line break, and no header can.
        self._key = key.get_secret_value().strip().encode()

    def __bool__(self) -> bool:
        """Whether there is a key at all."""
        return bool(self._key)

    def is_given_by(self, text: str) -> bool:
        """Whether what a caller sent is the key."""
        # aiohttp keeps header bytes that are no UTF-8 as surrogates.
        encoded = text.strip().encode(errors="surrogateescape")
        return bool(self._key) and hmac.compare_digest(encoded, self._key)
