"""Verdicts: what the team's backend said of a client, kept for when that client comes back.

The contract, whatever the implementation:

- **One key, one question.** The key is a digest of everything the backend was asked with, made by
  the caller; what was said is bytes that only the caller reads. Both are shared by all nodes.
- **Revoked means gone.** Once `revoke` returned, no node is given a verdict about that user that
  the backend was asked for before: not one that is kept, and not one whose question was still on
  its way. That is what the *stamp* is for: `find` says how many revocations there have been, `keep`
  brings that number back, and a verdict older than its user's last revocation is nobody's.
- **Not for ever.** A verdict lives for the time that `keep` or `prolong` gave it. One that was lost
  costs a question to the backend and nothing else.
- **Bounded.** A store that is full keeps no more; `LONGEST_MS` is the longest a verdict lives
  without being prolonged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

LONGEST_MS: Final = 900_000
"""Longest life that may be asked for."""
REVOCATION_MS: Final = 2 * LONGEST_MS
"""How long it is known that a user was revoked: longer than what was kept before can live."""


class Found(NamedTuple):
    """What a store knows under a key."""

    verdict: bytes | None
    stamp: int
    """To be handed to `keep` with what the backend says now."""


class Prolongation(NamedTuple):
    """How much longer a verdict lives."""

    key: bytes
    ttl_ms: int


class VerdictStore(Protocol):
    """The verdicts of all nodes.

    Every method raises `BackplaneUnavailableError` when the store does not answer in time.
    """

    async def find(self, key: bytes) -> Found:
        """Look for a verdict; one exchange with the store."""

    async def keep(self, key: bytes, verdict: bytes, *, user: str, stamp: int, ttl_ms: int) -> None:
        """Keep a verdict about `user`, unless they were revoked since `find` gave `stamp`."""

    async def prolong(self, prolongations: Sequence[Prolongation]) -> None:
        """Let verdicts live on from now; those that are gone or revoked stay so."""

    async def forget(self, key: bytes) -> None:
        """Drop one verdict."""

    async def revoke(self, user: str) -> None:
        """Drop every verdict about a user, on all nodes."""
