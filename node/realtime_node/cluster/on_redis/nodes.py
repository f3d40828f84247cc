"""The nodes of the cluster as one of them sees the others: their list, and messages to all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from realtime_node.cluster.backplane import Control, NodeInfo
from realtime_node.errors import BackplaneUnavailableError

from .commands import Commands
from .entries import UnreadableEntryError, decode_node, encode_control
from .keys import Keys
from .liveness import Liveness
from .options import RedisOptions
from .replies import Reply, data, ok_and_flag, texts
from .runner import ATTEMPTS, Call, Runner, always
from .script import CLAIM_RESTART, CONTROL, NODES

_log = logging.getLogger(__name__)

# Lists and messages of nodes live in the first partition: every node is in all of them.
_PARTITION: Final = 0


class Nodes:
    """Lists the live nodes and writes to all of them."""

    def __init__(  # noqa: PLR0913 - one composition root names them all
        self,
        options: RedisOptions,
        keys: Keys,
        runner: Runner,
        liveness: Sequence[Liveness],
        *,
        reads: Sequence[Commands],
        writes: Sequence[Commands],
        node_id: Callable[[], str],
    ) -> None:
        """`liveness`, `reads` and `writes` are by partition."""
        self._liveness = liveness[_PARTITION]
        self._inbox_bounds = (options.inbox_limit, options.inbox_bytes)
        self._keys = keys
        self._runner = runner
        self._reads = reads[_PARTITION]
        self._writes = writes[_PARTITION]
        self._node_id = node_id
        self._known: list[str] = []

    async def list(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        keys = self._keys.partition(_PARTITION)
        call: Call = (keys.nodes, keys.described), (self._liveness.silence_ms(),)
        described = await self._runner.run(self._reads, NODES, always(call), read=_descriptions)
        nodes: list[NodeInfo] = []
        for payload in described:
            try:
                nodes.append(decode_node(payload))
            except UnreadableEntryError as error:
                _log.warning("a node is left out of the list: %s", error)
        return sorted(nodes, key=lambda node: node.uid)

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""
        restart = self._keys.partition(_PARTITION).restart
        call: Call = (restart,), (self._node_id(), int(period_s * 1000))
        return await self._runner.run(
            self._writes, CLAIM_RESTART, always(call), read=ok_and_flag, may_repeat=True
        )

    async def control(self, message: Control) -> None:
        """See `Backplane.control`."""
        payload = encode_control(message)

        def build() -> Call:
            known = self._known or [self._node_id()]
            return (
                (
                    self._keys.node(_PARTITION, self._node_id()).node,
                    self._keys.partition(_PARTITION).nodes,
                    *(self._keys.node(_PARTITION, name).inbox for name in known),
                ),
                (self._liveness.silence_ms(), payload, *self._inbox_bounds, *known),
            )

        for _ in range(ATTEMPTS):
            live = await self._runner.run(self._writes, CONTROL, build, read=_live_nodes)
            if live is None:
                return
            self._known = live
        raise BackplaneUnavailableError(
            "nodes join faster than their list can be learned: the message was sent to none"
        )


def _descriptions(reply: Reply) -> list[bytes]:
    # A node that was entered by half has none.
    return [data(each or b"") for each in reply[1:]]


def _live_nodes(reply: Reply) -> list[str] | None:
    """Read which nodes have to be named; None: they were."""
    return None if reply == [b"OK"] else texts(reply[1:])
