"""Ends the parts of a node one after the other, whatever any of them raises.

A node that leaves half of its end undone stays in the cluster until its lease is over, with the
sessions and the presence of its clients. So a step that raises is counted and logged, and the next
one is taken. A step that hangs, as one that waits for clients or for the store may, takes its share
of the time and no more: what is left at its beginning is divided among it and the steps behind it,
by their weights. Steps that are done early leave their time to the others.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from realtime_node import failures
from realtime_node.supervision import is_asked_for

logger = logging.getLogger(__name__)

LEAST_S: Final = 0.25
"""What a step may take even if the time is over."""


class Step(NamedTuple):
    """One part of an end."""

    name: str
    """A constant: `callback_errors_total{where="shutdown-<name>"}` counts what it raises."""
    run: Callable[[], Awaitable[None] | None]
    weight: float = 1.0
    """Its share of the time, beside the weights of the steps behind it."""


def share_s(weights: Sequence[float], left_s: float) -> float:
    """Return what the first of the steps with these weights may take of the seconds left."""
    return max(LEAST_S, left_s * weights[0] / sum(weights))


async def tear_down(steps: Sequence[Step], within_s: float) -> None:
    """Take all steps in order, within a time as far as that is possible.

    Cancelled, it hurries: each step that is left gets `LEAST_S`, then the cancellation is raised.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + within_s
    cancelled: BaseException | None = None
    for index, step in enumerate(steps):
        weights = [each.weight for each in steps[index:]]
        limit = asyncio.timeout(share_s(weights, deadline - now()))
        try:
            async with limit:
                if inspect.isawaitable(done := step.run()):
                    await done
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
            if is_asked_for(error):
                cancelled, deadline = error, now()
                continue
            if limit.expired():
                # A client that is gone or a store that is away is no bug.
                logger.warning("shutdown: %s takes too long, and is left", step.name)
            else:
                failures.current().callback_failed(f"shutdown-{step.name}", error)
    if cancelled is not None:
        raise cancelled
