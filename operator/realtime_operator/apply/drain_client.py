"""The nodes' internal API: cordon, drain, abort, shed, budget.

Only who has the admin key is listened to; the key is in the cluster's Secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp

from realtime_operator.decide.actions import (
    AbortDrain,
    CordonNode,
    DrainNode,
    SetBudget,
    ShedNode,
)
from realtime_operator.errors import NodeUnreachableError

TIMEOUT_S: Final = 5.0
LONGEST_REASON: Final = 200
"""Characters that a node takes."""

Order = CordonNode | DrainNode | AbortDrain | ShedNode | SetBudget


class DrainClient:
    """Tells nodes what to do, by the IP address of their Pods."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        port: int,
        left_s: Callable[[], float] = lambda: TIMEOUT_S,
    ) -> None:
        """Speak through `session` to the nodes' internal port.

        An order takes no longer than `left_s` says at its beginning, and never than `TIMEOUT_S`.
        """
        self._session = session
        self._port = port
        self._left_s = left_s

    async def tell(self, order: Order, admin_key: str) -> None:
        """Give one node an order; it may come twice. Raises `NodeUnreachableError`."""
        path, body = request_of(order)
        host = f"[{order.ip}]" if ":" in order.ip else order.ip
        url = f"http://{host}:{self._port}{path}"
        timeout_s = min(TIMEOUT_S, self._left_s())
        if timeout_s <= 0:
            raise NodeUnreachableError(f"{order.name}: {path}: no time is left for it")
        try:
            async with self._session.post(
                url,
                json=body,
                headers={"Authorization": f"Bearer {admin_key}"},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NodeUnreachableError(f"{order.name}: {path}: {error!r}") from error
        if response.status >= 300:  # noqa: PLR2004 - HTTP
            raise NodeUnreachableError(f"{order.name}: {path}: {response.status} {text[:200]}")


def request_of(order: Order) -> tuple[str, Mapping[str, Any]]:
    """Path and body of an order."""
    match order:
        case CordonNode():
            return "/drain", {"phase": "cordon", "reason": _short(order.reason)}
        case AbortDrain():
            return "/drain", {"phase": "abort", "reason": _short(order.reason)}
        case DrainNode():
            return "/drain", {
                "phase": "drain",
                "rate_per_s": order.rate_per_s,
                "window_s": order.window_s,
                "deadline_s": order.shut_for_s + order.deadline_s,
                "reason": _short(order.reason),
            }
        case ShedNode():
            return "/shed", {"count": order.count, "rate_per_s": order.rate_per_s}
        case SetBudget():
            per_node = order.connections_per_second_per_node
            return "/budget", {"connections_per_second_per_node": per_node}


def _short(reason: str) -> str:
    return " ".join(reason.split())[:LONGEST_REASON]
