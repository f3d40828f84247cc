"""A client that comes back, as the SDKs do, so cheap that a process plays thousands.

    AWAY ──▶ DIALLING ──▶ UPGRADING ──▶ JOINING ──▶ HERE
      ▲          └────────────┴────────────┴──────────┤
      └──────────────── back-off ◀────────────────────┘        ENDED: it was told to stay away

A refused or lost connection waits with full jitter before the next attempt, which may go to any
node. Connect and subscribe go out in one frame, the latter with the position that the client has;
refused for the moment, or deprived of its subscription, it subscribes again. What happens is
written into the member's `Second`; what was received is kept as a `Following`.

One object is client and protocol both: it is handed each of its transports in turn, and ignores
what a former one still says.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from enum import Enum, auto
from random import Random
from typing import Final, Protocol, cast

import msgspec

from tests.load.storm import wire
from tests.load.storm.backoff import SDK_DEFAULT, Backoff
from tests.load.storm.following import Following
from tests.load.storm.histogram import bin_of
from tests.load.storm.messages import AFFECTED, UNAFFECTED, Second, Times

REPLY_WITHIN_S: Final = 5.0
"""An SDK gives up on a connect that is not answered by then."""
UPGRADE_WITHIN_S: Final = 30.0

_CONNECT_ID: Final = 1
_SUBSCRIBE_ID: Final = 2


class State(Enum):
    """Where a client is."""

    AWAY = auto()
    DIALLING = auto()
    UPGRADING = auto()
    JOINING = auto()
    HERE = auto()
    ENDED = auto()


class Surroundings(Protocol):
    """What all clients of a member share."""

    second: Second
    part: str
    here: int
    recovered: int
    back_s: list[float]
    ended: Counter[str]
    backoff: Backoff

    def choose(self) -> int:
        """Return the port of a node."""


def _note(times: Times, node: int, now: float) -> None:
    times.setdefault(node, []).append(now)


class Client:
    """One client; `come` lets it begin."""

    __slots__ = (
        "_attempt",
        "_buffer",
        "_failures",
        "_is_affected",
        "_loop",
        "_lost_at",
        "_random",
        "_resubscribes",
        "_timer",
        "_token",
        "_transport",
        "_world",
        "following",
        "joins",
        "node",
        "state",
    )

    def __init__(self, world: Surroundings, number: int, token: str, channel: str) -> None:
        """Be away."""
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._token = token
        self._random = Random(number)  # noqa: S311 - jitter
        self._transport: asyncio.Transport | None = None
        self._attempt = 0
        self._buffer = b""
        self._failures = 0
        self._resubscribes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lost_at: float | None = None
        self._is_affected = False
        self.following = Following(channel)
        self.joins = 0
        self.node = 0
        self.state = State.AWAY

    # --- coming and going -------------------------------------------------------------------------

    def come(self) -> None:
        """Try to connect now."""
        self.state = State.DIALLING
        self.node = self._world.choose()
        self._attempt += 1
        _note(self._world.second.attempts, self.node, time.monotonic())
        self._loop.create_task(self._dial(self._attempt))

    async def _dial(self, attempt: int) -> None:
        link = _Link(self, attempt)
        try:
            async with asyncio.timeout(UPGRADE_WITHIN_S):
                await self._loop.create_connection(lambda: link, "127.0.0.1", self.node)
        except OSError:  # TimeoutError is one
            if attempt == self._attempt:
                self.refused("unreachable")

    def leave(self) -> None:
        """Break the connection off, as a phone that loses its network does, and come back."""
        if self.state is State.HERE and self._transport is not None:
            self._transport.abort()
            self.lost(wire.ABNORMAL)

    def stall(self, seconds: float) -> None:
        """Read nothing for a while."""
        if self._transport is not None and self.state is State.HERE:
            transport = self._transport
            transport.pause_reading()
            self._loop.call_later(seconds, _resume, transport)

    def end(self) -> None:
        """Go for good."""
        self.state = State.ENDED
        self._let_go()

    def refused(self, reason: str) -> None:
        """Count an attempt that came to nothing and wait for the next."""
        refusals = self._world.second.refusals.setdefault(reason, {})
        _note(refusals, self.node, time.monotonic())
        self._go_away()

    def lost(self, code: int) -> None:
        """Count the end of a connection and wait before the next, unless the code forbids one."""
        closes = self._world.second.closes.setdefault(code, {})
        now = time.monotonic()
        _note(closes, self.node, now)
        if self.state is State.HERE:
            self._world.here -= 1
            self._lost_at = now
            self._is_affected = self._world.part == UNAFFECTED
        if 3500 <= code < 4000 or 4500 <= code < 5000:
            self._world.ended[f"closed with {code}"] += 1
            self.end()
        else:
            self._go_away()

    def _go_away(self) -> None:
        self._let_go()
        self.state = State.AWAY
        delay_s = self._world.backoff.delay_s(self._failures, self._random)
        self._failures += 1
        self._timer = self._loop.call_later(delay_s, self.come)

    def _let_go(self) -> None:
        self._attempt += 1  # what the link still says is not heard
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._buffer = b""

    # --- what the link says -----------------------------------------------------------------------

    def is_current(self, attempt: int) -> bool:
        """Whether a link is that of the present attempt."""
        return attempt == self._attempt

    def dialled(self, transport: asyncio.Transport) -> None:
        """Ask for the upgrade."""
        self._transport = transport
        self.state = State.UPGRADING
        transport.write(wire.upgrade_request(f"127.0.0.1:{self.node}"))
        self._timer = self._loop.call_later(UPGRADE_WITHIN_S, self.refused, "no upgrade")

    def received(self, data: bytes) -> None:
        """Read all frames that are complete."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if self.state is State.UPGRADING:
            upgrade = wire.read_upgrade(buffer)
            if upgrade is None:
                self._buffer = buffer
                return
            at = upgrade.end
            if upgrade.status != 101:
                self.refused(str(upgrade.status))
                return
            self._upgraded()
        attempt = self._attempt
        while (frame := wire.next_frame(buffer, at)) is not None:
            self._read(frame.opcode, buffer[frame.start : frame.end])
            if attempt != self._attempt:
                return
            at = frame.end
        self._buffer = buffer[at:]

    def disconnected(self) -> None:
        """Take note of the end of a connection without a close frame."""
        if self.state is State.UPGRADING:
            self.refused("cut off")
        else:
            self.lost(wire.ABNORMAL)

    # --- what the node says -----------------------------------------------------------------------

    def _read(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.Opcode.TEXT:
            if payload == wire.PING:
                self._write(wire.PONG)
                return
            for message in wire.read_messages(payload):
                self._take(message)
        elif opcode == wire.Opcode.CLOSE:
            self.lost(wire.close_code(payload))

    def _take(self, message: wire.Message) -> None:
        if message.push is not None:
            if message.push.pub is not None:
                self._published(message.push.pub)
            elif message.push.unsubscribe is not None:
                self._resubscribe()
        elif message.error is not None:
            self._failed(message.id, message.error)
        elif message.connect is not None:
            self._failures = 0
        elif message.subscribe is not None:
            self._subscribed(message.subscribe)
        elif not message.id:
            self._write(wire.PONG)

    def _published(self, publication: wire.Publication) -> None:
        data = publication.data
        self.following.took(publication.offset, data.n)
        group = AFFECTED if self._is_affected else self._world.part
        latency_us = (time.monotonic_ns() - data.t) / 1e3
        bins = self._world.second.latencies[group]
        number = bin_of(latency_us)
        bins[number] = bins.get(number, 0) + 1

    def _upgraded(self) -> None:
        _note(self._world.second.upgrades, self.node, time.monotonic())
        self.state = State.JOINING
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(REPLY_WITHIN_S, self.refused, "no reply")
        connect = {"id": _CONNECT_ID, "connect": {"token": self._token}}
        lines = msgspec.json.encode(connect) + b"\n" + self._subscribe_command()
        self._write(wire.text_frame(lines))

    def _subscribe_command(self) -> bytes:
        request: dict[str, object] = {"channel": self.following.channel}
        if position := self.following.position:
            epoch, offset = position
            request |= {"recover": True, "epoch": epoch, "offset": offset}
        return msgspec.json.encode({"id": _SUBSCRIBE_ID, "subscribe": request})

    def _subscribed(self, result: wire.Subscribed) -> None:
        now = time.monotonic()
        world = self._world
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resubscribes = 0
        self.following.subscribed(result.epoch, result.offset, recovered=result.recovered)
        if result.recovered:
            for publication in result.publications:
                self.following.took(publication.offset, publication.data.n)
            world.recovered += len(result.publications)
            self.following.is_to_be_at(result.offset)
        if self.state is State.JOINING:
            self.state = State.HERE
            self.joins += 1
            world.here += 1
            _note(world.second.joins, self.node, now)
            if self._lost_at is not None:
                world.back_s.append(now - self._lost_at)
                self._lost_at = None

    def _failed(self, command: int, error: wire.Error) -> None:
        if not error.temporary:
            self._world.ended[f"error {error.code}"] += 1
            if self.state is State.HERE:
                self._world.here -= 1
            self.end()
        elif command == _CONNECT_ID:
            self.refused(f"error {error.code}")
        else:
            delay_s = SDK_DEFAULT.delay_s(self._resubscribes, self._random)
            self._resubscribes += 1
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(delay_s, self._resubscribe)

    def _resubscribe(self) -> None:
        self._timer = self._loop.call_later(REPLY_WITHIN_S, self._is_silent)
        self._write(wire.text_frame(self._subscribe_command()))

    def _is_silent(self) -> None:
        """Break off: an SDK does when a subscribe is not answered."""
        self.lost(wire.ABNORMAL)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


class _Link(asyncio.Protocol):
    """One attempt of a client: tells it what its transport says, as long as it is the present."""

    __slots__ = ("_attempt", "_client")

    def __init__(self, client: Client, attempt: int) -> None:
        self._client = client
        self._attempt = attempt

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tcp = cast("asyncio.Transport", transport)  # uvloop's does not descend from it
        if self._client.is_current(self._attempt):
            self._client.dialled(tcp)
        else:
            tcp.abort()

    def data_received(self, data: bytes) -> None:
        if self._client.is_current(self._attempt):
            self._client.received(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._client.is_current(self._attempt):
            self._client.disconnected()


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
