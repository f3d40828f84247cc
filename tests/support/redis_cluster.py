"""A Redis Cluster on the loopback interface: primaries that share the slots, some with a replica.

It is formed as `redis-cli --cluster create` does and moves slots as `redis-cli --cluster reshard`
does, but one step at a time, so that a test can act in the middle.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from redis import Redis

from tests.support.conditions import NEVER_S
from tests.support.node_process import free_port
from tests.support.redis_server import Program, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

SLOTS: Final = 16_384
PRIMARIES: Final = 3

_HOST: Final = "127.0.0.1"
_WITHIN_S: Final = NEVER_S
_MIGRATE_WITHIN_MS: Final = 5_000
_KEYS_AT_ONCE: Final = 10
"""As many as redis-cli moves with one MIGRATE."""


class SlotCluster:
    """Servers 0 to 2 are the primaries at first; a context manager that ends all by their pids.

    A partition whose primary is away does not stop the others: production wants that setting, too.
    """

    def __init__(
        self,
        *,
        program: Program = Program.ANY,
        replicas_of: Sequence[int] = (),
        node_timeout_ms: int = 1000,
    ) -> None:
        """Return when every server serves.

        `replicas_of` are primaries that get a replica each: servers 3 and on, in this order.
        `node_timeout_ms` is the silence after which a server is taken for dead.
        """
        self.servers: list[RedisServer] = []
        self._bus_ports: list[int] = []
        try:
            for _ in range(PRIMARIES + len(replicas_of)):
                self._start(program, node_timeout_ms)
            self._ids = [self._call(n, "CLUSTER", "MYID") for n in range(len(self.servers))]
            self._form(replicas_of)
        except BaseException:
            self.close()
            raise

    def _start(self, program: Program, node_timeout_ms: int) -> None:
        # The default, 10,000 above the server's port, may be somebody else's or none.
        self._bus_ports.append(free_port())
        settings = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self._bus_ports[-1])),
            *("--cluster-node-timeout", str(node_timeout_ms)),
            *("--cluster-require-full-coverage", "no"),
            *("--cluster-allow-replica-migration", "no"),
        )
        self.servers.append(RedisServer(program=program, tcp=True, settings=settings))

    def _form(self, replicas_of: Sequence[int]) -> None:
        bounds = [SLOTS * n // PRIMARIES for n in range(PRIMARIES + 1)]
        for n in range(len(self.servers)):
            self._call(n, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            if n < PRIMARIES:
                self._call(n, "CLUSTER", "ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
            if n:
                self._call(0, "CLUSTER", "MEET", _HOST, self.servers[n].port, self._bus_ports[n])
        for replica, primary in enumerate(replicas_of, PRIMARIES):
            self._wait_for(replica, self._ids[primary], "CLUSTER", "NODES")
            self._call(replica, "CLUSTER", "REPLICATE", self._ids[primary])
        self.settle()
        for replica in range(PRIMARIES, len(self.servers)):
            self._wait_for(replica, b"master_link_status:up", "INFO", "REPLICATION")

    # --- what it is -----------------------------------------------------------------------------

    @property
    def seeds(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every server."""
        return tuple((_HOST, server.port) for server in self.servers)

    def primary_of(self, slot: int) -> int:
        """Return which server serves a slot, as the first one says that runs."""
        for first, last, server in self._served():
            if first <= slot <= last:
                return server
        raise AssertionError(f"nobody serves slot {slot}")

    def settle(self) -> None:
        """Wait until every server that runs knows who serves each slot, and serves."""
        for n in self._running():
            for sign in (
                b"cluster_state:ok\r",
                b"cluster_slots_ok:%d\r" % SLOTS,
                b"cluster_known_nodes:%d\r" % len(self.servers),
            ):
                self._wait_for(n, sign, "CLUSTER", "INFO")

    def _served(self) -> list[tuple[int, int, int]]:
        """First and last slot of each range, and the server."""
        ports = [server.port for server in self.servers]
        ranges = self._call(self._running()[0], "CLUSTER", "SLOTS")
        return [(first, last, ports.index(primary[1])) for first, last, primary, *_ in ranges]

    # --- what is done to it ---------------------------------------------------------------------

    def wait_for_replica(self, n: int) -> None:
        """Return when the replica of a primary has all that was written to it."""
        assert self._call(n, "WAIT", 1, int(_WITHIN_S * 1000)) == 1

    def empty(self, n: int) -> None:
        """Take everything from one server."""
        self._call(n, "FLUSHALL")

    def kill(self, n: int) -> None:
        """SIGKILL one server."""
        self.servers[n].kill()

    def restart(self, n: int) -> None:
        """Start a server that was killed, in its old place. A primary serves after two seconds."""
        self.servers[n].start()

    def move(self, slot: int, to: int) -> Iterator[str]:
        """Move a slot with its keys while it is in use, and say after each step what was done.

        "importing", "migrating", "keys" for each handful of them, and "owner" each time that one
        more server was told the new one.
        """
        source = self.primary_of(slot)
        yield self._set_slot(to, slot, "IMPORTING", self._ids[source])
        yield self._set_slot(source, slot, "MIGRATING", self._ids[to])
        place = (_HOST, self.servers[to].port)
        while keys := self._call(source, "CLUSTER", "GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
            self._call(source, "MIGRATE", *place, "", 0, _MIGRATE_WITHIN_MS, "KEYS", *keys)
            yield "keys"
        # The new owner first: it tells the others, and nobody is sent back and forth.
        others = [server for _, _, server in self._served()]
        for n in dict.fromkeys((to, source, *others)):
            self._set_slot(n, slot, "NODE", self._ids[to])
            yield "owner"

    def reshard(self, slots: Iterable[int], to: int) -> Iterator[str]:
        """Move one slot after the other."""
        for slot in slots:
            yield from self.move(slot, to)

    def _set_slot(self, n: int, slot: int, state: str, node: bytes) -> str:
        self._call(n, "CLUSTER", "SETSLOT", slot, state, node)
        return state.lower()

    # --- processes ------------------------------------------------------------------------------

    def close(self) -> None:
        """End all."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def _running(self) -> list[int]:
        return [n for n, server in enumerate(self.servers) if server.is_running]

    def _wait_for(self, n: int, sign: bytes, *words: str) -> None:
        """Wait until what a server answers to `words` holds a `sign`."""
        deadline = time.monotonic() + _WITHIN_S
        while sign not in (answer := self._call(n, *words)):
            if time.monotonic() > deadline:
                raise AssertionError(f"server {n} of the cluster never said {sign!r}: {answer!r}")
            time.sleep(0.01)

    def _call(self, n: int, *words: Any) -> Any:
        with Redis(unix_socket_path=str(self.servers[n].socket)) as server:
            # Replies as they are: redis-py would read some of them and leave others.
            server.response_callbacks.clear()
            return server.execute_command(*words)
