"""Publications at a steady rate through the HTTP API of several nodes, each one accounted for.

The rate holds while answers are late: every publication is a call of its own, and a node that does
not answer at all is asked again only now and then, as a load balancer's health checks would. Every
publication ends in one of three ways: acknowledged (it is in the `ledger`), refused as temporary
(code 100), or unknown. Anything else is a failure. Publications may be sent in batches, each into
one channel; what of a batch is acknowledged has to be in its order.
"""

from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.support.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.node_process import NodeProcess

_ANSWER_WITHIN_S: Final = 6.0
"""Twice what a node takes at the most, so that only a node that stands still is given up."""
_OUTSTANDING_LIMIT: Final = 3000
_PAUSE_S: Final = 0.01
_PROBE_EVERY_S: Final = 1.0
_TEMPORARY: Final = 100


class PublishingLoad:
    """Publishes numbers from 1 on, to the channels in turn, until it is stopped.

    Bounded: with `_OUTSTANDING_LIMIT` calls out, further publications are not sent but counted.
    """

    def __init__(  # noqa: PLR0913 - what a load is made of
        self,
        nodes: Sequence[NodeProcess],
        channels: Sequence[str],
        *,
        api_key: str,
        per_s: float = 500,
        batch_size: int = 1,
        data_of: Callable[[int], object] = int,
    ) -> None:
        """Use these nodes in turn; `data_of` makes the data of the publication of a number."""
        self.ledger = Ledger()
        self.asked_for = 0
        """Publications that the rate asked for; also the last number given out."""
        self.unsent = 0
        """Those among them that were not sent, because too many were out."""
        self.refused = 0
        """Refused with the temporary error: not done, or not known to be."""
        self.unknown = 0
        """Not answered: they may be there once or not at all."""
        self.disordered = 0
        """Acknowledged before one that stood before them in their batch."""
        self.slowest_s = 0.0
        """The longest that an answer took."""
        self._nodes = list(nodes)
        self._channels = channels
        self._headers = {"X-API-Key": api_key}
        self._per_s = per_s
        self._batch_size = batch_size
        self._data_of = data_of
        self._outstanding = 0
        self._stopped = asyncio.Event()
        # Nodes that did not answer, with the time from which on one is tried again.
        self._resting: dict[NodeProcess, float] = {}

    @property
    def reached(self) -> float:
        """Which part of the publications asked for was sent."""
        return 1 - self.unsent / max(self.asked_for, 1)

    def stop(self) -> None:
        """Let `run` send no more."""
        self._stopped.set()

    async def run(self, duration_s: float = math.inf) -> None:
        """Publish for so long, or until stopped; return when the last publication was answered."""
        self._stopped.clear()
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S),
            ) as session,
            asyncio.TaskGroup() as calls,
        ):
            first, started = self.asked_for, time.monotonic()
            while (elapsed := time.monotonic() - started) < duration_s:
                while self.asked_for - first < elapsed * self._per_s:
                    numbers = range(self.asked_for + 1, self.asked_for + self._batch_size + 1)
                    self.asked_for += self._batch_size
                    if self._outstanding < _OUTSTANDING_LIMIT:
                        self._outstanding += self._batch_size
                        calls.create_task(self._publish(session, numbers))
                    else:
                        self.unsent += self._batch_size
                if self._stopped.is_set():
                    break
                await asyncio.sleep(_PAUSE_S)

    async def _publish(self, session: aiohttp.ClientSession, numbers: range) -> None:
        turn = numbers[0] // self._batch_size
        channel = self._channels[turn % len(self._channels)]
        node = self._choose(turn)
        bodies = [{"channel": channel, "data": self._data_of(number)} for number in numbers]
        began = time.monotonic()
        try:
            answers = await _ask(session, node, bodies)
        except TimeoutError:
            self.unknown += len(numbers)
            self._resting[node] = time.monotonic() + _PROBE_EVERY_S
            return
        except aiohttp.ClientError as error:
            if node.is_running:
                raise AssertionError(f"{node.name} lives and did not answer") from error
            self.unknown += len(numbers)
            self._nodes = [other for other in self._nodes if other is not node]
            return
        finally:
            self._outstanding -= len(numbers)
        self._resting.pop(node, None)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        places: list[tuple[str, int]] = []
        for number, answer in zip(numbers, answers, strict=True):
            match answer:
                case {"result": {"epoch": epoch, "offset": offset}}:
                    self.ledger.acknowledge(channel, epoch, offset, number)
                    places.append((epoch, offset))
                case {"error": {"code": code}} if code == _TEMPORARY:
                    self.refused += 1
                case _:
                    raise AssertionError(f"{node.name} answered a publish with {answer}")
        self.disordered += sum(
            one[0] == next_[0] and one[1] > next_[1] for one, next_ in pairwise(places)
        )

    def _choose(self, number: int) -> NodeProcess:
        """Return the next node in turn that is not resting; its turn to be tried ends a rest."""
        now = time.monotonic()
        for turn in range(len(self._nodes)):
            node = self._nodes[(number + turn) % len(self._nodes)]
            tried_at = self._resting.get(node, -math.inf)
            if now >= tried_at:
                if node in self._resting:
                    self._resting[node] = now + _PROBE_EVERY_S
                return node
        return self._nodes[number % len(self._nodes)]


async def _ask(
    session: aiohttp.ClientSession, node: NodeProcess, bodies: Sequence[object]
) -> list[dict[str, Any]]:
    """Publish one by a call of its own, or several as a batch; return the answers as of calls."""
    if len(bodies) == 1:
        async with session.post(f"{node.http_url}/api/publish", json=bodies[0]) as response:
            return [await response.json()]
    batch = {"commands": [{"publish": body} for body in bodies]}
    async with session.post(f"{node.http_url}/api/batch", json=batch) as response:
        replies = (await response.json())["replies"]
    return [
        {"result": reply["publish"]} if "publish" in reply else {"error": reply["error"]}
        for reply in replies
    ]
