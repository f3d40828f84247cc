"""Whether the Redis that answers still holds what it acknowledged; and if not, another generation.

With every connection, before anything else is asked on it, this node's last acknowledged publish
must be in its mark, the last entry it took must be in its inbox, and the node itself must be
registered. A promoted replica that lagged, or a file whose end was cut off, fails that. Then the
generation of the partition is rotated, so that no position from before is continued, and the
receiver is made to compare all its positions with the store. Nodes that notice the same loss rotate
once: the script compares the generation in which it was noticed.

What this cannot see: a loss that spared all this node's own traces is noticed by the nodes whose
traces it took, and known here with the next heartbeat.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from .commands import Commands
from .inbox_ids import entry_id, sequence_of
from .instruments import Instruments
from .keys import Keys
from .link import Link
from .replies import OK, Reply, data, datas, number, status
from .script import ROTATE, VERIFY
from .traces import Seen, Traces

_log = logging.getLogger(__name__)

_FENCED: Final = b"FENCED"
_GONE: Final = b"GONE"
GENERATION_BYTES: Final = 2

_T = TypeVar("_T")


class Call(Protocol):
    """Asks Redis: over a link, or through the commands of a connection."""

    def __call__(self, packed: bytes, /, *, read: Callable[[Reply], _T]) -> Awaitable[_T]:
        """Return what `read` makes of the reply to a packed command."""


class _Found(NamedTuple):
    """What a store has of what this node has seen."""

    status: bytes
    generation: bytes = b""
    last: int = 0
    oldest: bytes = b""
    entry: Sequence[bytes] = ()


class Continuity:
    """Compares traces with the store, and rotates generations."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        keys: Keys,
        traces: Traces,
        instruments: Instruments,
        *,
        node_id: Callable[[], str],
        is_absent: Callable[[int], bool],
        on_rotated: Callable[[int], None],
        on_gone: Callable[[], None],
    ) -> None:
        """`is_absent`: this identity is not registered in a partition, nor could it have been.

        `on_rotated` is told of every partition whose positions may not be continued.

        `on_gone` is told, before that, of a registration that Redis does not have.
        """
        self._keys = keys
        self._traces = traces
        self._instruments = instruments
        self._node_id = node_id
        self._is_absent = is_absent
        self._on_rotated = on_rotated
        self._on_gone = on_gone

    async def check(self, link: Link, partitions: Iterable[int]) -> None:
        """Compare partitions over their new connection, before anything else uses it."""
        for partition in partitions:
            await self._check(link.call_packed, partition)

    async def check_through(self, commands: Commands, partitions: Iterable[int]) -> None:
        """Compare partitions over a connection in use, before an identity is given up."""
        for partition in partitions:
            await self._check(partial(commands.execute, even_if_barred=True), partition)

    async def rotate(self, commands: Commands, partition: int, reason: str) -> None:
        """Rotate because something else has shown that acknowledged writes are gone."""
        known = self._traces[partition].generation
        await self._rotate(commands.execute, partition, known, reason)

    def learn(self, partition: int, generation: bytes) -> None:
        """Hear of a partition's generation: another than the known one means a loss."""
        trace = self._traces[partition]
        if generation and generation != trace.generation:
            known, trace.generation = trace.generation, generation
            if known:
                # What was seen before belongs to that loss: it shows no other one.
                trace.forget()
                _log.error("partition %d: acknowledged writes were lost", partition)
                self._on_rotated(partition)

    async def _check(self, call: Call, partition: int) -> None:
        trace = self._traces[partition]
        if not trace.generation or self._is_absent(partition):
            return  # not joined yet
        node = self._node_id()
        own = self._keys.node(partition, node)
        generation = self._keys.partition(partition).generation
        # Another connection may hear of a new generation while this one waits for its answer.
        known, seen = trace.generation, trace.seen()
        read = entry_id(seen.read[0]) if seen.read is not None else b""
        keys = (generation, own.node, own.mark, own.inbox)
        found = await call(VERIFY.pack_with_source(keys, (read,)), read=_read_found)
        if found.status == _FENCED or node != self._node_id():
            return  # the next command finds out, and all is registered anew
        if found.status == _GONE:
            self._on_gone()
        if found.generation != known:
            # Noticed by another node, and all positions are in doubt: nothing to add.
            self.learn(partition, found.generation)
            return
        reason = "this node's registration is gone"
        if found.status == OK:
            reason = missing(seen, found.last, found.oldest, found.entry)
        if reason:
            await self._rotate(call, partition, known, reason)

    async def _rotate(self, call: Call, partition: int, known: bytes, reason: str) -> None:
        nonce = secrets.token_hex(GENERATION_BYTES)
        keys = (self._keys.partition(partition).generation,)
        generation = await call(
            ROTATE.pack_with_source(keys, (known, nonce)), read=_read_generation
        )
        _log.error("partition %d: Redis lost acknowledged writes: %s", partition, reason)
        # One loss is noticed once, however many connections are made after it.
        self._traces[partition].forget()
        if generation:
            if generation.startswith(nonce.encode()):
                self._instruments.rotated(partition)
            self.learn(partition, generation)


def _read_found(reply: Reply) -> _Found:
    kind = status(reply)
    if kind == _FENCED:
        return _Found(kind)
    if kind == _GONE:
        _, generation = reply
        return _Found(kind, data(generation))
    _, generation, last, oldest, entry = reply
    return _Found(OK, data(generation), number(last), data(oldest), datas(entry))


def _read_generation(reply: Reply) -> bytes:
    """Read the generation as it is now; empty where the partition was emptied."""
    if reply == [_FENCED]:
        return b""
    _, generation = reply
    return data(generation)


def missing(seen: Seen, last: int, oldest: bytes, entry: Sequence[bytes]) -> str:
    """What a store that holds only this much has lost; empty if nothing shows.

    `last` is the sequence in the mark, `oldest` the id of the first entry in the inbox, `entry` the
    fields found under the id that was read last.
    """
    if last < seen.published:
        return f"publish {seen.published} was acknowledged, the mark ends with {last}"
    # A missing inbox is its reader's to notice; what was trimmed is no loss of Redis'.
    if seen.read is None or not oldest or sequence_of(oldest) > seen.read[0]:
        return ""
    if list(entry) != list(seen.read[1]):
        return f"inbox entry {seen.read[0]} was read and is not there"
    return ""
