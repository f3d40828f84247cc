"""Publishing: one script call that names the inboxes of the interested nodes, see `routes`.

A publish whose answer was lost is not an error yet: `outcomes` finds its result, or finds that it
may be sent once more, as long as its deadline allows.

Bounds: `_ATTEMPTS` calls per publish, and one deadline for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from realtime_node.cluster.backplane import EntryKind, Published, StreamOptions
from realtime_node.errors import BackplaneUnavailableError
from realtime_node.protocol.messages import ClientInfo, Publication

from .commands import Commands
from .entries import JOIN_HEADER, LEAVE_HEADER, encode_info, encode_publication
from .history import meta_ttl_ms
from .instruments import Instruments
from .keys import Keys
from .link import Reply
from .options import RedisOptions
from .outcomes import Outcomes
from .refusals import RefusedForNowError, ScriptMissingError, UnansweredError
from .routes import Route, Routes
from .runner import ATTEMPTS, FENCED, Runner
from .script import ANNOUNCE, PUBLISH, Argument, Script
from .traces import Traces

_ATTEMPTS: Final = ATTEMPTS + 1
"""The first call, and as many again as a stale route, a new identity or a lost script may cost."""

_OK: Final = b"OK"
_DUPLICATE: Final = b"DUPLICATE"
_LATE: Final = b"LATE"
_DEDUP_TTL_MS: Final = 300_000


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

        async def execute(node: str, route: Route, deadline: float) -> Reply:
            # The sequence is drawn when the call is queued, so that the mark only ever grows.
            sequence = next(self._sequences[route.partition])
            packed = route.pack_publish(sequence, payload, key, settings)
            sent = self._outcomes.sent(node, route.partition, sequence)
            try:
                reply = await self._writes[route.partition].execute(packed, deadline)
            except UnansweredError as error:
                reply = await self._outcomes.find(sent, error, deadline) or (_LATE,)
            if reply[0] == _OK:
                self._traces.acknowledged(node, route.partition, sequence)
            return reply

        route, reply = await self._call(channel, PUBLISH, execute)
        own = reply[3] if reply[0] == _OK else b""
        return Published(
            offset=int(reply[1]),
            epoch=reply[2].decode(),
            sequence=(route.partition, int(own)) if own else None,
        )

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        header = (JOIN_HEADER if kind is EntryKind.JOIN else LEAVE_HEADER) % channel.encode()
        payload = encode_info(info)

        async def execute(_node: str, route: Route, deadline: float) -> Reply:
            keys: Sequence[bytes] = (route.node, route.interest, *route.inboxes)
            arguments: Sequence[Argument] = (
                *(route.version, header, payload),
                *self._inbox_bounds,
            )
            packed = ANNOUNCE.pack(keys, arguments)
            return await self._writes[route.partition].execute(packed, deadline)

        await self._call(channel, ANNOUNCE, execute)

    async def _call(
        self,
        channel: str,
        script: Script,
        execute: Callable[[str, Route, float], Awaitable[Reply]],
    ) -> tuple[Route, Reply]:
        """Execute until there is an answer of the script's own, learning the route on the way."""
        deadline = self._runner.deadline()
        backoff = self._runner.backoff()
        attempts = 0
        while attempts < _ATTEMPTS:
            node = self._node_id()
            route = self._routes.route(channel, node)
            try:
                reply = await execute(node, route, deadline)
            except RefusedForNowError as error:
                await self._runner.wait(backoff, error, deadline)
                continue
            except ScriptMissingError:
                attempts += 1
                await self._runner.load(self._writes[route.partition], script, deadline)
                continue
            status = reply[0]
            if status in (_OK, _DUPLICATE):
                return route, reply
            attempts += 1
            if status == FENCED:
                await self._runner.join_again(node, deadline)
            elif status != _LATE:
                self._instruments.stale_interest()
                route.learn(self._keys, node, reply)
        raise BackplaneUnavailableError(
            "who is interested in the channel changes faster than it can be learned:"
            " nothing was published"
        )
