"""Publishing: one script call that names the inboxes of the interested nodes, see `routes`.

A publish whose answer was lost is not an error yet: `outcomes` finds its result, or finds that it
may be sent once more, as long as its deadline allows. Whatever has to be sent again keeps its place
among the publishes of its channel, see `lines`.

Bounds: `_ATTEMPTS` calls per publish, and one deadline for all of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from realtime_node.cluster.backplane import EntryKind, Published, StreamOptions
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo, Publication

from .commands import Commands
from .entries import JOIN_HEADER, LEAVE_HEADER, encode_info, encode_publication
from .history import meta_ttl_ms
from .instruments import Instruments
from .keys import Keys
from .lines import Lines, Place
from .options import RedisOptions
from .outcomes import Outcomes, Sent
from .refusals import (
    FencedError,
    NotSentError,
    RefusedForNowError,
    ScriptMissingError,
    UnansweredError,
)
from .replies import Reply, data, number, text, texts
from .routes import Interested, Route, Routes
from .runner import ATTEMPTS, Runner, unless_fenced
from .script import ANNOUNCE, PUBLISH, Argument, Script
from .traces import Traces

_ATTEMPTS: Final = ATTEMPTS + 1
"""The first call, and as many again as a stale route, a new identity or a lost script may cost."""

_OK: Final = b"OK"
_DUPLICATE: Final = b"DUPLICATE"
_STALE: Final = b"STALE_INTEREST"
_LATE: Final = b"LATE"
_DEDUP_TTL_MS: Final = 300_000


class Answer(NamedTuple):
    """What a publish or an announcement was answered."""

    status: bytes
    offset: int = 0
    epoch: str = ""
    own: int | None = None
    """Sequence of its entry in the publisher's own inbox."""
    interest: Interested | None = None
    """Of a stale route: what to make another from."""


Queued = asyncio.Future[Answer]


class Execute(Protocol):
    """Queues one call; `again`: it was queued before."""

    def __call__(self, node: str, route: Route, deadline: float, /, *, again: bool) -> Queued:
        """Return the answer to come."""


Find = Callable[[UnansweredError, float], Awaitable[Answer]]
"""Finds an answer that was lost, or raises the error that says so."""


class _Call(NamedTuple):
    script: Script
    size: int
    """Bytes of its payload."""
    execute: Execute
    find: Find


class Publisher:
    """Publishes and announces on the connection for writes."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        writes: Sequence[Commands],
        *,
        traces: Traces,
        instruments: Instruments,
        node_id: Callable[[], str],
    ) -> None:
        """`writes` are the connections by partition."""
        self._inbox_bounds = (options.inbox_limit, options.inbox_bytes)
        self._keys = keys
        self._runner = runner
        self._writes = writes
        self._traces = traces
        self._instruments = instruments
        self._node_id = node_id
        self._outcomes = Outcomes(keys, writes, traces, instruments)
        self._routes = Routes(keys, options.route_cache_size)
        self._lines = Lines(
            limit=options.command_queue_limit,
            limit_bytes=options.command_queue_bytes,
            refused=lambda: instruments.refused("writes"),
        )
        self._sequences = tuple(itertools.count(1) for _ in range(keys.partitions))

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str,
    ) -> Published:
        """See `Backplane.publish`."""
        payload = encode_publication(publication)
        if options.has_history:
            stream = (options.history_size, options.history_ttl_ms, meta_ttl_ms(options))
        else:
            stream = (0, 0, 0)
        key = idempotency_key.encode()
        settings = (*stream, _DEDUP_TTL_MS if key else 0, *self._inbox_bounds)

        sent: Sent | None = None

        def execute(node: str, route: Route, deadline: float, *, again: bool) -> Queued:
            # The sequence is drawn when the call is queued, so that the mark only ever grows.
            nonlocal sent
            sequence = next(self._sequences[route.partition])
            sent = self._outcomes.sent(node, route.partition, sequence)
            return self._writes[route.partition].execute(
                route.pack_publish(sequence, payload, key, settings),
                deadline,
                read=_read_answer,
                in_order=True,
                was_admitted=again,
            )

        async def find(error: UnansweredError, deadline: float) -> Answer:
            assert sent is not None, "its answer was lost"
            result = await self._outcomes.find(sent, error, deadline)
            return Answer(_LATE) if result is None else Answer(_OK, *result)

        route, answer = await self._call(channel, _Call(PUBLISH, len(payload), execute, find))
        if answer.status == _OK and sent is not None:
            self._traces.acknowledged(sent.node, sent.partition, sent.sequence)
        return Published(
            offset=answer.offset,
            epoch=answer.epoch,
            sequence=None if answer.own is None else (route.partition, answer.own),
        )

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        header = (JOIN_HEADER if kind is EntryKind.JOIN else LEAVE_HEADER) % channel.encode()
        payload = encode_info(info)

        def execute(_node: str, route: Route, deadline: float, *, again: bool) -> Queued:
            keys: Sequence[bytes] = (route.node, route.interest, *route.inboxes)
            arguments: Sequence[Argument] = (
                *(route.version, header, payload),
                *self._inbox_bounds,
            )
            return self._writes[route.partition].execute(
                ANNOUNCE.pack(keys, arguments),
                deadline,
                read=_read_announced,
                in_order=True,
                was_admitted=again,
            )

        async def give_up(error: UnansweredError, _deadline: float) -> Answer:
            raise error

        await self._call(channel, _Call(ANNOUNCE, len(payload), execute, give_up))

    async def _call(self, channel: str, call: _Call) -> tuple[Route, Answer]:
        """Execute until there is an answer of the script's own, learning the route on the way."""
        place = self._lines.enter(channel, call.size)
        try:
            return await self._call_in_line(channel, call, place)
        finally:
            place.leave()

    async def _call_in_line(self, channel: str, call: _Call, place: Place) -> tuple[Route, Answer]:
        deadline = self._runner.deadline()
        backoff = self._runner.backoff()
        node = self._node_id()
        route = self._routes.route(channel, node)
        attempts = tries = 0

        def send() -> Queued:
            # Who waited in line may find another identity, and another route.
            nonlocal node, route, tries
            node = self._node_id()
            route = self._routes.route(channel, node)
            tries += 1
            return call.execute(node, route, deadline, again=tries > 1)

        while attempts < _ATTEMPTS:
            try:
                answer = await place.run(send)
            except NotSentError:
                place.come_back()
                continue
            except RefusedForNowError as error:
                place.come_back()
                await self._runner.wait(backoff, error, deadline)
                continue
            except ScriptMissingError:
                attempts += 1
                place.come_back()
                await self._runner.load(self._writes[route.partition], call.script, deadline)
                continue
            except FencedError:
                attempts += 1
                place.come_back()
                await self._runner.join_again(node, deadline)
                continue
            except UnansweredError as error:
                place.come_back()
                answer = await call.find(error, deadline)
            if answer.status in (_OK, _DUPLICATE):
                return route, answer
            attempts += 1
            place.come_back()
            if answer.interest is not None:
                self._instruments.stale_interest()
                route.learn(self._keys, node, answer.interest)
        raise BackplaneUnavailableError(
            "who is interested in the channel changes faster than it can be learned:"
            " nothing was published"
        )


def _read(reply: Reply) -> Answer:
    """Read an answer that is the same for both scripts."""
    kind = reply[0]
    if kind == _STALE:
        _, version, *nodes = reply
        return Answer(_STALE, interest=Interested(data(version), texts(nodes)))
    raise ValueError(f"the status {kind!r} is unknown")


@unless_fenced
def _read_answer(reply: Reply) -> Answer:
    kind = reply[0]
    if kind == _OK:
        _, offset, epoch, own = reply
        return Answer(kind, number(offset), text(epoch), number(own) if data(own) else None)
    if kind == _DUPLICATE:
        _, offset, epoch = reply
        return Answer(kind, number(offset), text(epoch))
    if reply == [_LATE]:
        return Answer(_LATE)
    return _read(reply)


@unless_fenced
def _read_announced(reply: Reply) -> Answer:
    return Answer(_OK) if reply == [_OK] else _read(reply)
