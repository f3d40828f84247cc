"""Reads who is present in a channel: page by page, so that no step is long here or in Redis.

Most channels are one page. A larger one is read once for all who ask meanwhile, and the answer is
kept for `_KEPT_S`: in a large channel somebody always comes or goes, so any answer is a moment old.
It lists all clients that are present while it is read; one that comes or goes meanwhile may be in
it or not.

Bounds: `_PAGE` clients are read and decoded in one step, about twice as many in the worst case; the
answers of `_MAX_KEPT` channels are kept, of `_MAX_KEPT_CLIENTS` clients together or one alone; the
oldest goes first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from realtime_node.cluster.presence import too_many_present
from realtime_node.protocol.messages import ClientInfo

from .commands import Commands
from .entries import UnreadableEntryError, decode_info
from .keys import Keys
from .liveness import Liveness
from .replies import Reply, array, data, datas, number, pairs
from .runner import Call, Runner, always
from .script import PRESENCE_PAGE
from .shared_call import SharedCall

_log = logging.getLogger(__name__)

_PAGE: Final = 500
_KEPT_S: Final = 1.0
_MAX_KEPT: Final = 64
_MAX_KEPT_CLIENTS: Final = 50_000
"""About 25 MB: what is kept is let go when the next answer comes, and that may take long."""
_END: Final = 0

Present = dict[str, ClientInfo]


class _Page(NamedTuple):
    """A part of a channel's presence, and who is alive."""

    cursor: int
    size: int
    """Entries of the whole channel."""
    alive: frozenset[bytes]
    silence_ms: dict[bytes, int]
    now_ms: int
    entries: dict[bytes, bytes]


class PresenceReader:
    """Reads over the connection for reads."""

    def __init__(
        self,
        keys: Keys,
        runner: Runner,
        liveness: Sequence[Liveness],
        reads: Sequence[Commands],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`liveness` and `reads` are by partition."""
        self._keys = keys
        self._runner = runner
        self._liveness = liveness
        self._reads = reads
        self._clock = clock
        self._reading: dict[str, SharedCall[Present]] = {}
        # Channel → when its answer was complete, and the answer; the oldest first.
        self._kept: dict[str, tuple[float, Present]] = {}

    async def read(self, channel: str, limit: int) -> tuple[Present, bool]:
        """Return who is present, and whether that answer is shared, and so not to be changed.

        Raises `ReplyError` for a channel of more than `limit` clients; 0: any number will do.
        """
        if (kept := self._fresh(channel)) is not None:
            _check(len(kept), limit)
            return kept, True
        reading = self._reading.get(channel)
        if reading is None:
            page = await self._page(channel, _END)
            _check(page.size, limit)
            if page.cursor == _END:
                return _decode(page), False
            # Somebody else may have begun meanwhile.
            reading = self._reading.get(channel) or self._begin(channel, page)
        present = await reading()
        _check(len(present), limit)
        return present, True

    def forget(self, channel: str, client: str) -> None:
        """Take a client of this node's own, which has left, out of an answer that is kept."""
        if (kept := self._kept.get(channel)) is not None:
            kept[1].pop(client, None)

    def _begin(self, channel: str, first: _Page) -> SharedCall[Present]:
        async def read() -> Present:
            try:
                present = await self._read_on(channel, first)
            finally:
                del self._reading[channel]
            self._keep(channel, present)
            return present

        reading = self._reading[channel] = SharedCall(read, name="redis-presence")
        return reading

    async def _read_on(self, channel: str, page: _Page) -> Present:
        present = _decode(page)
        while page.cursor != _END:
            page = await self._page(channel, page.cursor)
            present.update(_decode(page))
        return present

    async def _page(self, channel: str, cursor: int) -> _Page:
        partition = self._keys.partition_of(channel)
        silence_ms = self._liveness[partition].silence_ms()
        call: Call = (
            (self._keys.partition(partition).nodes, self._keys.channel(channel).presence),
            (silence_ms, cursor, _PAGE),
        )
        return await self._runner.run(
            self._reads[partition], PRESENCE_PAGE, always(call), read=_read_page
        )

    def _fresh(self, channel: str) -> Present | None:
        kept = self._kept.get(channel)
        if kept is None or self._clock() - kept[0] >= _KEPT_S:
            return None
        return kept[1]

    def _keep(self, channel: str, present: Present) -> None:
        now = self._clock()
        self._kept.pop(channel, None)
        self._kept[channel] = now, present
        num_clients = sum(len(each) for _, each in self._kept.values())
        while self._kept:
            name, (at, oldest) = next(iter(self._kept.items()))
            has_room = len(self._kept) <= _MAX_KEPT and num_clients <= _MAX_KEPT_CLIENTS
            if now - at < _KEPT_S and (has_room or name == channel):
                break
            num_clients -= len(oldest)
            del self._kept[name]


def _check(count: int, limit: int) -> None:
    if limit and count > limit:
        raise too_many_present()


def _read_page(reply: Reply) -> _Page:
    _, cursor, size, live, silent, now_ms, fields = reply
    silent = array(silent)
    silence_ms = {data(n): number(ms) for n, ms in zip(silent[::2], silent[1::2], strict=True)}
    return _Page(
        number(cursor),
        number(size),
        frozenset(datas(live)),
        silence_ms,
        number(now_ms),
        pairs(fields),
    )


def _decode(page: _Page) -> Present:
    present: Present = {}
    for client, value in page.entries.items():
        owner, _, payload = value.partition(b" ")
        try:
            if owner in page.alive or _stays(owner, page):
                present[client.decode()] = decode_info(payload)
        except (UnreadableEntryError, ValueError) as error:
            _log.warning("a client is left out of a channel's presence: %s", error)
    return present


def _stays(owner: bytes, page: _Page) -> bool:
    """Whether a client counts whose entry is not simply one of a live node's."""
    node, plus, stay = owner.partition(b"+")
    if not plus:
        return False
    span_ms = int(stay.partition(b"+")[0])
    if not node:
        return page.now_ms < span_ms
    return node in page.alive or page.silence_ms.get(node, span_ms) < span_ms
