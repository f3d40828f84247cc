"""An allowance: so many events per second that all nodes of the cluster share.

There are two. *Reconnects* are the closes that we cause (drains, rebalancing, rollouts): each sends
a client to another node, and all nodes together may cause so many per second. *Connects* are
arrivals that may pass to what does not grow with the cluster, a team's backend above all.

The contract, whatever the implementation:

- **One budget.** Nodes take permits in small leases. All leases of all nodes together stay within
  the rate, plus at most one second of it (or one permit) at once.
- **Shared as it is wanted.** Nodes that ask at the same time get parts in proportion to what they
  say they could use; a lease tells the part, so that its holder can pace itself by it.
- **A lease is used or lost.** What is not used within its life (about a second) is not given back
  and cannot be saved up: a node that was killed with permits in its hands costs at most those.
- **Only the living.** A node whose own lease of life has ended, or that was declared dead, gets
  nothing until it has joined again.
- **The store may be away.** Then each node goes on with its share of the last rate it knew, which
  keeps the sum where it was. `lease` never raises, and answers within a second.

What may be leased for reconnects, per second:

    total = connections per second and node * nodes that accept clients (at least one)
    spare = total - max(0, arrivals - explained)
    rate  = max(spare, total / 10)

*Arrivals* are what all nodes let in, as each measured it between its last two heartbeats. Those
that our own closes explain are not held against them: *explained* is the most that was leased in
any one second of the last ten, since clients come back within that time, spread by their back-off.
docs/adr/0012 tells why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

RECONNECTS_PER_S: Final = 100.0
"""The reconnect budget of a node where nobody says otherwise."""
LEAST_PART: Final = 0.1
"""Part of the reconnect budget that no arrivals take away, so that a drain always ends."""


class Lease(NamedTuple):
    """Permits to be used within `life_s`; with none, when it is worth asking again."""

    permits: int
    life_s: float = 1.0
    """Seconds from the asking in which the permits count."""
    retry_after_s: float = 0.0
    """Seconds after which more may be had; 0: at once."""
    rate_per_s: float = 0.0
    """What this node may expect to be given from now on, permits per second; 0: unknown."""
    is_local: bool = False
    """The store did not answer: this is the node's share of the last known rate."""


class Allowance(Protocol):
    """One budget, as one node sees it."""

    async def lease(self, wanted: int) -> Lease:
        """Take up to `wanted` (≥ 1) permits: what the caller could use within a second.

        It may be given fewer, to be used up before it asks again.
        """


class Traffic(NamedTuple):
    """What a node tells with each heartbeat, for the reconnect budget."""

    is_accepting: bool
    """Whether new clients are let in."""
    accepted_total: int
    """Clients let in since the node started."""


class Budget(NamedTuple):
    """The reconnect budget as this node knows it; no older than a heartbeat unless `is_local`."""

    per_node: float
    """Connections per second for each node that accepts clients."""
    version: int = 0
    """Grows with each change made at run time; 0: as the settings say."""
    accepting: int = 0
    """Live nodes that accept clients."""
    live: int = 1
    """Live nodes."""
    arrivals_per_s: float = 0.0
    """Clients per second that came to all of them, as measured last."""
    is_local: bool = False
    """The store did not answer this node's last question."""

    @property
    def total_per_s(self) -> float:
        """What all nodes together may lease while nobody else arrives."""
        return self.per_node * max(1, self.accepting)

    @property
    def share_per_s(self) -> float:
        """What one node may use while the store cannot say what the others use."""
        return self.total_per_s / max(1, self.live)


def reconnect_rate(total_per_s: float, arrivals_per_s: float, explained_per_s: float) -> float:
    """Return how many permits per second may be leased for reconnects; see the module."""
    spare = total_per_s - max(0.0, arrivals_per_s - explained_per_s)
    return max(spare, total_per_s * LEAST_PART)


class ReconnectBudget(Allowance, Protocol):
    """The budget of the closes that we cause, which an operator may change while nodes run."""

    def observe(self, traffic: Callable[[], Traffic]) -> None:
        """Ask `traffic` from now on what this node tells about its arrivals."""

    def known(self) -> Budget:
        """What this node knows of the budget; reads no network."""

    async def change(self, per_node: float) -> Budget:
        """Set the budget for the whole cluster: the last change wins, whatever settings say.

        Asking for what is set already changes nothing. Raises `BackplaneError`.
        """
