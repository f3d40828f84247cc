"""An allowance: so many events per second that all nodes of the cluster share.

There are two. *Reconnects* are the closes that we cause (drains, rebalancing, rollouts): each sends
a client to another node, and all nodes together may cause so many per second. *Connects* are
arrivals that may pass to what does not grow with the cluster, a team's backend above all.

The contract, whatever the implementation:

- **One budget.** Nodes take permits in small leases. All leases of all nodes together stay within
  the rate, plus at most one second of it at once.
- **A lease is used or lost.** What is not used within its life (about a second) is not given back
  and cannot be saved up: a node that was killed with permits in its hands costs at most those.
- **The store may be away.** Then each node goes on with its share of the last rate it knew, which
  keeps the sum where it was. `lease` never raises, and answers within the store's deadline.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Lease(NamedTuple):
    """Permits to be used within `life_s`; with none, when it is worth asking again."""

    permits: int
    life_s: float = 1.0
    """Seconds from now in which the permits count."""
    retry_after_s: float = 0.0
    """Seconds after which more may be had; 0: at once."""
    rate_per_s: float = 0.0
    """What this node may expect to be given from now on, permits per second; 0: unknown."""
    is_local: bool = False
    """The store did not answer: this is the node's share of the last known rate."""


class Allowance(Protocol):
    """One budget, as one node sees it."""

    async def lease(self, wanted: int) -> Lease:
        """Take up to `wanted` (≥ 1) permits."""
