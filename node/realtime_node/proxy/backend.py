"""The team's backend: one endpoint that answers questions.

The contract, whatever the implementation:

- **One question, one answer.** `call` returns the whole body of an answer that was given with
  success, or raises `BackendError`. It never returns a part of one, follows the backend nowhere
  else, and keeps nothing between two questions that could mix one client's with another's.
- **Bounded.** An answer comes within the endpoint's timeout and is not larger than its bound.
- **Asked once**, but where the caller said that asking twice does no harm: then a question that a
  closed connection swallowed is put again, within the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[str, str]]
"""Names, in lower case, and values; a name may come several times."""


class Backend(Protocol):
    """One endpoint."""

    async def call(self, body: bytes, headers: Headers) -> bytes:
        """Ask, with a JSON body; raises `BackendError`.

        Its `outcome` is `timeout`, `unreachable`, `status`, `too_large` or `malformed`.
        """

    async def close(self) -> None:
        """Let go of connections."""
