"""What became of a publish whose answer was lost: the mark knows.

Every publish writes its sequence and result into its node's mark, in the slot `sequence % 256`, and
a connection has at most 256 commands out. So after the reconnect, before anything else is sent, the
result is found there; or it is certain that the publish was not executed, and the script that says
so bars it for good, so that its message may be sent again. Only a Redis that is another process, or
lost acknowledged writes, may have executed the publish and forgotten it: then nobody knows.

Bound: at most the 256 publishes of a pipeline ask at once, each until its own deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from realtime_node.errors import BackplaneError

from .commands import Commands
from .instruments import Instruments
from .keys import Keys
from .refusals import UnansweredError
from .replies import Reply, data, number, status, text
from .script import RESOLVE
from .traces import Traces

_DONE: Final = b"DONE"
_NOT_DONE: Final = b"NOT_DONE"


class Sent(NamedTuple):
    """A publish on its way, and the Redis that it was sent to."""

    node: str
    partition: int
    sequence: int
    generation: bytes
    incarnation: int


class Result(NamedTuple):
    """What a publish that was executed was answered."""

    offset: int
    epoch: str
    own: int | None
    """Sequence of its entry in the publisher's own inbox."""


class Outcomes:
    """Asks Redis for results that did not arrive."""

    def __init__(
        self,
        keys: Keys,
        writes: Sequence[Commands],
        traces: Traces,
        instruments: Instruments,
    ) -> None:
        """`writes` are the connections by partition."""
        self._keys = keys
        self._writes = writes
        self._traces = traces
        self._instruments = instruments

    def sent(self, node: str, partition: int, sequence: int) -> Sent:
        """Note whom a publish is sent to, now."""
        trace = self._traces[partition]
        return Sent(node, partition, sequence, trace.generation, trace.incarnation)

    async def find(self, sent: Sent, cause: UnansweredError, deadline: float) -> Result | None:
        """What the publish did; None if it was not executed and never will be.

        Raises `cause` when that cannot be known.
        """
        try:
            found = await self._ask(sent, cause, deadline)
        except BackplaneError:
            self._instruments.resolved("unknown")
            raise cause from None
        if isinstance(found, Result):
            self._instruments.resolved("done")
            return found
        if found and self._is_same_redis(sent, found):
            self._instruments.resolved("not_done")
            return None
        self._instruments.resolved("unknown")
        raise cause

    async def _ask(self, sent: Sent, cause: UnansweredError, deadline: float) -> Result | bytes:
        own = self._keys.node(sent.partition, sent.node)
        generation = self._keys.partition(sent.partition).generation
        packed = RESOLVE.pack_with_source((generation, own.node, own.mark), (sent.sequence,))
        loop = asyncio.get_running_loop()
        # The last one is asked after first. That bars all before it in one moment, so that none of
        # them is executed behind one that was found to be missing.
        urgency = sent.sequence
        writes = self._writes[sent.partition]
        while loop.time() < deadline:
            try:
                return await writes.execute(packed, deadline, read=_read, urgency=urgency)
            except UnansweredError:
                # Asking twice changes nothing.
                continue
        raise cause

    def _is_same_redis(self, sent: Sent, generation: bytes) -> bool:
        incarnation = self._traces[sent.partition].incarnation
        return (generation, incarnation) == (sent.generation, sent.incarnation)


def _read(reply: Reply) -> Result | bytes:
    """Read what a publish did; or the generation in which it never will be done, b"": not known."""
    if status(reply) == _DONE:
        _, offset, epoch, own = reply
        return Result(number(offset), text(epoch), number(own) if data(own) else None)
    if reply[0] == _NOT_DONE:
        _, generation = reply
        return data(generation)
    return b""
