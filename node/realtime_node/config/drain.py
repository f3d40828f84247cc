"""How a node is emptied, at what pace, and who may ask for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr

from realtime_node.config.section import Duration, Section


class DrainSettings(Section):
    """Sending clients elsewhere before the node ends; docs/drains.md tells all of it."""

    propagation: Duration = timedelta(seconds=3)
    """How long load balancers may go on choosing a node that refuses new clients; the first client
    is closed after it, and at once where none is connected. The default fits Kubernetes' own
    Services and is short enough for `docker stop`; behind a cloud's load balancer it takes 15 s or
    more."""


class ReconnectBudgetSettings(Section):
    """How fast the nodes of the cluster together may send clients elsewhere.

    Drains, sheds and rollouts share it. `POST /budget` changes it for all nodes while they run, and
    then counts instead.
    """

    connections_per_second_per_node: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Clients per second, for each node that accepts any. Clients that come by themselves are
    subtracted."""


class AdminSettings(Section):
    """The internal API that changes what a node does: `/drain`, `/shed` and `/budget`."""

    key: SecretStr = SecretStr("")
    """What callers send as `Authorization: Bearer <key>`. Empty: every call is refused."""
