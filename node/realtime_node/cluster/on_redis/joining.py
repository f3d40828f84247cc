"""Subscribing many at once: who comes while Redis is being asked shares the next question.

A subscribe may only be answered with a state of the channel that is younger than itself: what the
inbox brought before that is not kept for it. So nobody boards a question that is already out. They
gather, and one question, from the hindmost position of all, answers them together. `tails` answers
most of the recovering ones without any.

Bounds: one question per channel is out; waiting are at most those who subscribe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from realtime_node.cluster.backplane import StreamOptions, Subscribed
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import StreamPosition
from realtime_node.supervision import is_asked_for, supervise

from .deadline import until
from .interest import Interest
from .refusals import never_sent, not_joined, unanswered
from .shared_call import copy_of
from .tails import Tails, following

_END: Final = StreamPosition()


class _Passenger:
    """Who waits for a question's answer."""

    __slots__ = ("answer", "has_boarded", "limit", "options", "since")

    def __init__(self, options: StreamOptions, since: StreamPosition | None, limit: int) -> None:
        self.options = options
        self.since = since
        self.limit = limit
        self.answer: asyncio.Future[Subscribed] = asyncio.get_running_loop().create_future()
        self.has_boarded = False
        """Whether a question that is to answer it was asked."""


class Joining:
    """Brings the subscribes of a channel together."""

    def __init__(self, interest: Interest, tails: Tails, *, timeout_s: float) -> None:
        """`timeout_s` is what a subscribe may take, its wait for the next question included."""
        self._timeout_s = timeout_s
        self._interest = interest
        self._tails = tails
        self._waiting: dict[str, list[_Passenger]] = {}
        self._rides: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End the questions that are out."""
        rides = list(self._rides.values())
        for ride in rides:
            ride.cancel()
        await asyncio.gather(*rides, return_exceptions=True)

    async def subscribe(
        self, channel: str, options: StreamOptions, *, since: StreamPosition | None, limit: int
    ) -> Subscribed:
        """See `Backplane.subscribe`."""
        if since is not None and options.has_history and self._interest.is_held(channel):
            answer = self._tails.answer(channel, since, limit)
            if answer is not None:
                return answer
        passenger = _Passenger(options, since, limit)
        self._waiting.setdefault(channel, []).append(passenger)
        if channel not in self._rides:
            self._rides[channel] = supervise(partial(self._ride, channel), name="redis-subscribe")
        try:
            async with until(asyncio.get_running_loop().time() + self._timeout_s):
                return await passenger.answer
        except TimeoutError as error:
            raise (unanswered(error) if passenger.has_boarded else never_sent()) from None

    async def _ride(self, channel: str) -> None:
        """Ask until nobody waits any more."""
        while passengers := self._board(channel):
            try:
                await self._ask(channel, passengers)
            except BackplaneError as error:
                _fail(passengers, error)
            except BaseException as error:
                if is_asked_for(error):
                    passengers += self._waiting.pop(channel, ())
                _fail(passengers, not_joined() if is_asked_for(error) else unanswered(error))
                raise
        del self._rides[channel]

    def _board(self, channel: str) -> list[_Passenger]:
        """Those who can be answered together."""
        waiting = [each for each in self._waiting.pop(channel, ()) if not each.answer.done()]
        if not waiting:
            return []
        options = waiting[0].options
        later = [each for each in waiting if each.options != options]
        if later:
            self._waiting[channel] = later
        passengers = [each for each in waiting if each.options == options]
        for passenger in passengers:
            passenger.has_boarded = True
        return passengers

    async def _ask(self, channel: str, passengers: list[_Passenger]) -> None:
        asked = [each.since for each in passengers if each.since is not None]
        since = min(asked, key=lambda position: position.offset, default=None)
        limit = max((each.limit for each in passengers if each.since is not None), default=0)
        tail = self._tails.open(channel) if since is not None else None
        try:
            found = await self._interest.subscribe(
                channel,
                passengers[0].options,
                since=since,
                limit=limit,
                is_wanted=lambda: any(not each.answer.done() for each in passengers),
            )
        except BaseException:
            self._tails.drop((channel,))
            raise
        if tail is not None and since is not None:
            self._tails.settle(channel, tail, found, since.offset)
        rows = found.publications
        reached = rows[-1].offset if rows else 0
        is_cut = len(rows) >= limit and reached < found.top.offset
        for each in passengers:
            if each.answer.done():
                continue
            if each.since is None:
                each.answer.set_result(Subscribed(top=found.top, publications=[]))
            elif (
                is_cut
                and each.since.offset > (since or _END).offset
                and found.top.offset - each.since.offset <= each.limit
            ):
                # What it asked for lies behind the limit of the one before it. Who asked for less
                # than there is goes with what there is of it: many of them are not read for again.
                self._waiting.setdefault(channel, []).append(each)
            else:
                publications = following(rows, each.since.offset, each.limit)
                each.answer.set_result(Subscribed(top=found.top, publications=publications))


def _fail(passengers: Iterable[_Passenger], error: Exception) -> None:
    for each in passengers:
        if not each.answer.done():
            each.answer.set_exception(copy_of(error))
