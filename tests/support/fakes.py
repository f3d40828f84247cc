"""Stand-ins for what a session and the hub work on: no I/O, and a clock that the test turns.

Every fake that answers can be told to fail (`failing`) or to keep its caller waiting (`hold`), so
that a test decides what has already happened when something else does.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from realtime_node.admission.token_bucket import Rate
from realtime_node.cluster.backplane import (
    Control,
    Entry,
    EntryKind,
    HistoryPage,
    NodeInfo,
    Published,
    Receiver,
    StreamOptions,
    Subscribed,
)
from realtime_node.cluster.in_memory.cluster import InMemoryCluster, Member
from realtime_node.cluster.in_memory.sessions import InMemorySessions
from realtime_node.cluster.in_memory.verdicts import InMemoryVerdicts
from realtime_node.cluster.presence import NO_STAY, Stay, too_many_present
from realtime_node.cluster.session_store import Claimed, KeptGrant, Owner, SessionState
from realtime_node.config import Settings
from realtime_node.delivery.budget import Shared
from realtime_node.delivery.flow import PLAIN, Flow
from realtime_node.delivery.frames import Compression, Frame, Framer
from realtime_node.delivery.hub import Hub
from realtime_node.delivery.outbound import Outbound
from realtime_node.delivery.policies import Reason
from realtime_node.delivery.slow_clients import SlowClients, SlowLimits
from realtime_node.errors import TokenError, UnrecoverablePositionError
from realtime_node.protocol import codes
from realtime_node.protocol.deflate import Wire
from realtime_node.protocol.framing import message_frame
from realtime_node.protocol.json_codec import JsonCodec
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition
from realtime_node.proxy.building import Surroundings, build_proxies
from realtime_node.proxy.headers import NOTHING_KEPT, Kept
from realtime_node.session.channels import ChannelRules
from realtime_node.session.claims import ConnectionClaims, SubscriptionClaims
from realtime_node.session.departures import Departures
from realtime_node.session.keeper import Keeper
from realtime_node.session.lifecycle import Limits
from realtime_node.session.offenders import Offenders
from realtime_node.session.registry import SessionRegistry
from realtime_node.session.services import Services
from realtime_node.session.session import Session
from realtime_node.telemetry.metrics import Metrics
from tests.support.team import FakeTeam

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS: Final = Limits(stale_after=10, ping_interval=25, pong_timeout=8, expiry_grace=25)
UNIX_START: Final = 1_800_000_000.0


class FakeClock:
    """Seconds that pass only when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The present."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class FakeSlowClients(SlowClients):
    """The slow clients of a node whose timers are the test's to run."""

    def __init__(
        self,
        clock: FakeClock | None = None,
        metrics: Metrics | None = None,
        *,
        client_bytes: int = 2000,
        node_bytes: int = 1_000_000,
        write_timeout_s: float = 10.0,
    ) -> None:
        """Take every limit as given."""
        self.clock = clock or FakeClock()
        self.metrics = metrics or Metrics()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        limits = SlowLimits(
            client_bytes=client_bytes, node_bytes=node_bytes, write_timeout_s=write_timeout_s
        )
        super().__init__(
            limits,
            lambda messages, wire: framer_of().single(JsonCodec().join(messages), wire),
            metrics=self.metrics.slow,
            delivery_metrics=self.metrics.delivery,
            now=self.clock,
            schedule=lambda delay_s, call: self.timers.append((self.clock() + delay_s, call)),
            unsent_bytes=lambda transport: transport.get_write_buffer_size(),
        )

    def run_due(self) -> None:
        """Run the timers whose time has come."""
        due = [timer for timer in self.timers if timer[0] <= self.clock()]
        self.timers = [timer for timer in self.timers if timer[0] > self.clock()]
        for _, call in due:
            call()


def plain_flow(_channel: str) -> Flow:
    """The rules of every channel, where a test has no others."""
    return PLAIN


# --- the client's side ----------------------------------------------------------------------------


def payload_of(frame: bytes) -> bytes:
    """The payload of an unmasked, unfragmented WebSocket frame, decompressed if it has to be."""
    length = frame[1]
    start = 2 if length < 126 else 4 if length == 126 else 10
    if is_compressed(frame):
        return zlib.decompress(frame[start:] + b"\x00\x00\xff\xff\x03\x00", wbits=-15)
    return frame[start:]


def is_compressed(frame: bytes) -> bool:
    """Whether a WebSocket frame is marked as compressed (RSV1)."""
    return bool(frame[0] & 0x40)


def messages_of(frame: bytes) -> list[dict[str, Any]]:
    """The messages of a JSON frame."""
    return [json.loads(line) for line in payload_of(frame).split(b"\n")]


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `stall` lets it pile up in the buffer, as a slow client does."""

    def __init__(self, high_water: int = 1000) -> None:
        super().__init__()
        self.high_water = high_water
        self.written: list[bytes] = []
        self.protocol: Any = None
        self.buffered = 0
        self.is_stalled = False
        self.is_reading_now = True
        self.is_broken = False
        self.end = ""
        """How it ended, if it did: closed or aborted."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages written, in order."""
        return [message for frame in self.written for message in messages_of(frame)]

    def write(self, data: Any) -> None:
        """Take bytes, and complain to the protocol when too many wait."""
        if self.is_broken:
            raise RuntimeError("the handler is closed")
        self.written.append(bytes(data))
        if self.is_stalled:
            was_full = self.buffered > self.high_water
            self.buffered += len(data)
            if self.buffered > self.high_water and not was_full:
                self.protocol.pause_writing()

    def stall(self) -> None:
        """Take nothing off the buffer from now on."""
        self.is_stalled = True

    def drain(self) -> None:
        """Take everything off it, and go on doing so."""
        was_full = self.buffered > self.high_water
        self.is_stalled = False
        self.buffered = 0
        if was_full:
            self.protocol.resume_writing()

    def drain_to(self, left: int) -> None:
        """Take all but so many bytes off it, and then nothing more."""
        was_full = self.buffered > self.high_water
        self.buffered = min(self.buffered, left)
        if was_full and self.buffered <= self.high_water // 4:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait."""
        return self.buffered

    def set_protocol(self, protocol: Any) -> None:
        """Tell `protocol` from now on."""
        self.protocol = protocol

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return bool(self.end)

    def close(self) -> None:
        """Close in order."""
        self.end = self.end or "closed"

    def abort(self) -> None:
        """Close at once."""
        self.end = "aborted"

    def pause_reading(self) -> None:
        """Hand over no more bytes."""
        self.is_reading_now = False

    def resume_reading(self) -> None:
        """Hand over bytes again."""
        self.is_reading_now = True


class FakeLink:
    """The WebSocket under a session that has no server around it."""

    def __init__(self) -> None:
        self.closes: list[tuple[int, str]] = []
        self.is_reading = True

    @property
    def code(self) -> int | None:
        """The close code sent, if there was exactly one close."""
        return self.closes[0][0] if len(self.closes) == 1 else None

    def close(self, code: int, reason: str) -> None:
        """Keep a close."""
        self.closes.append((code, reason))

    def pause_reading(self) -> None:
        """Note that the client is not read from."""
        self.is_reading = False

    def resume_reading(self) -> None:
        """Note that it is again."""
        self.is_reading = True


# --- the cluster's side ---------------------------------------------------------------------------


class Answers:
    """What the fakes of the store share: failures and answers that come late."""

    def __init__(self) -> None:
        self.failing: dict[str, BaseException] = {}
        """By method: what its next calls raise."""
        self.calls: list[tuple[str, str]] = []
        """Method and channel of every call, in order."""
        self._held: dict[tuple[str, str], asyncio.Event] = {}

    @contextmanager
    def hold(self, method: str, channel: str = "") -> Iterator[None]:
        """Keep the answers of a method, for one channel or all, back until the end of the block."""
        self._held[method, channel] = asyncio.Event()
        try:
            yield
        finally:
            self._held.pop((method, channel)).set()

    async def _answer(self, method: str, channel: str = "") -> None:
        self.calls.append((method, channel))
        event = self._held.get((method, channel)) or self._held.get((method, ""))
        if event is not None:
            await event.wait()
        if (error := self.failing.get(method)) is not None:
            raise error


class _Stream:
    def __init__(self) -> None:
        self.epoch = "e1"
        self.publications: list[Publication] = []

    @property
    def top(self) -> StreamPosition:
        return StreamPosition(offset=len(self.publications), epoch=self.epoch)


class FakeBackplane(Answers):
    """One node's store, executing at the call and answering when it is let.

    What was published waits in `inbox` until the test hands it over with `deliver`.
    """

    node_id = "node-1"

    def __init__(self) -> None:
        super().__init__()
        self.inbox: list[Entry] = []
        self.interest: set[str] = set()
        self.controls: list[Control] = []
        self.published: list[tuple[str, Publication]] = []
        self.infos: list[NodeInfo] = []
        self.may_restart = True
        self.receiver: Receiver | None = None
        self._streams: dict[str, _Stream] = defaultdict(_Stream)
        self._sequence = 0
        self._results: dict[tuple[str, str], Published] = {}

    async def deliver(self) -> None:
        """Hand everything that waits in the inbox to the receiver, and let the loop write it."""
        assert self.receiver is not None
        entries, self.inbox = self.inbox, []
        await self.receiver.receive(entries)
        await settle()

    async def start(self, receiver: Receiver, describe: Callable[[], NodeInfo]) -> None:
        """Hand entries to `receiver`."""
        self.receiver = receiver
        self.infos = [describe()]

    async def close(self) -> None:
        """Nothing to close."""

    def obstacles(self) -> list[str]:
        """None."""
        return []

    def is_available(self) -> bool:
        """It always answers."""
        return True

    def _put(self, **fields: Any) -> int | None:
        if "channel" in fields and fields["channel"] not in self.interest:
            return None
        self._sequence += 1
        self.inbox.append(Entry(partition=0, sequence=self._sequence, **fields))
        return self._sequence

    async def publish(
        self,
        channel: str,
        publication: Publication,
        options: StreamOptions,
        *,
        idempotency_key: str = "",
    ) -> Published:
        """See `Backplane.publish`."""
        known = self._results.get((channel, idempotency_key)) if idempotency_key else None
        epoch, offset = "", 0
        if known is None and options.has_history:
            stream = self._streams[channel]
            offset, epoch = len(stream.publications) + 1, stream.epoch
            publication = msgspec.structs.replace(publication, offset=offset)
            stream.publications.append(publication)
        if known is None:
            self.published.append((channel, publication))
            own = self._put(
                kind=EntryKind.PUBLICATION, channel=channel, epoch=epoch, publication=publication
            )
            sequence = None if own is None else (0, own)
            known = Published(offset=offset, epoch=epoch, sequence=sequence)
            self._results[channel, idempotency_key] = known
        await self._answer("publish", channel)
        return known

    async def announce(self, channel: str, kind: EntryKind, info: ClientInfo) -> None:
        """See `Backplane.announce`."""
        await self._answer(f"announce {kind.name}", channel)
        self._put(kind=kind, channel=channel, info=info)

    async def subscribe(
        self,
        channel: str,
        options: StreamOptions,
        *,
        since: StreamPosition | None = None,
        limit: int = 0,
    ) -> Subscribed:
        """See `Backplane.subscribe`."""
        self.interest.add(channel)
        state = Subscribed(top=StreamPosition(), publications=[])
        if options.has_history:
            stream = self._streams[channel]
            missed = [] if since is None else stream.publications[since.offset :][:limit]
            state = Subscribed(top=stream.top, publications=missed)
        await self._answer("subscribe", channel)
        return state

    def release(self, channel: str) -> None:
        """See `Backplane.release`."""
        self.calls.append(("release", channel))
        self.interest.discard(channel)

    async def history(
        self,
        channel: str,
        options: StreamOptions,
        *,
        limit: int,
        since: StreamPosition | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        """See `Backplane.history`."""
        await self._answer("history", channel)
        stream = self._streams[channel] if options.has_history else _Stream()
        if since is not None and since.epoch not in {"", stream.epoch}:
            raise UnrecoverablePositionError("another epoch")
        found = stream.publications[0 if since is None else since.offset :]
        page = found[::-1] if reverse else found
        return HistoryPage(publications=page if limit < 0 else page[:limit], top=stream.top)

    async def remove_history(self, channel: str) -> None:
        """See `Backplane.remove_history`."""
        await self._answer("remove_history", channel)

    async def control(self, message: Control) -> None:
        """See `Backplane.control`."""
        await self._answer("control")
        self.controls.append(message)
        self._put(kind=EntryKind.CONTROL, control=message)

    async def claim_restart(self, period_s: float) -> bool:
        """See `Backplane.claim_restart`."""
        await self._answer("claim_restart", str(period_s))
        return self.may_restart

    async def nodes(self) -> list[NodeInfo]:
        """See `Backplane.nodes`."""
        await self._answer("nodes")
        return self.infos


class FakePresence(Answers):
    """Who is present; what is asked is done at the call and answered when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.present: dict[str, dict[str, ClientInfo]] = defaultdict(dict)
        self.tokens: dict[tuple[str, str], int] = defaultdict(int)

    async def add(self, channel: str, info: ClientInfo, stay: Stay = NO_STAY) -> bool:
        """See `PresenceStore.add`."""
        was_present = stay.token > 0 and info.client in self.present[channel]
        if "add" not in self.failing:
            self.present[channel][info.client] = info
            self.tokens[channel, info.client] = stay.token
        await self._answer("add", channel)
        return was_present

    async def remove(self, channel: str, client: str, token: int = 0) -> bool:
        """See `PresenceStore.remove`."""
        is_ours = client in self.present[channel] and self.tokens[channel, client] <= token
        if is_ours and "remove" not in self.failing:
            del self.present[channel][client]
        await self._answer("remove", channel)
        return is_ours

    async def get(self, channel: str, *, limit: int = 0) -> dict[str, ClientInfo]:
        """See `PresenceStore.get`."""
        await self._answer("get", channel)
        present = dict(self.present[channel])
        if limit and len(present) > limit:
            raise too_many_present()
        return present

    async def stats(self, channel: str) -> tuple[int, int]:
        """See `PresenceStore.stats`."""
        await self._answer("stats", channel)
        present = self.present[channel].values()
        return len(present), len({info.user for info in present})


class FakeSessions(InMemorySessions, Answers):
    """The records of a cluster, as one node sees them; fails and answers late when it is told to.

    Several nodes may share a cluster. Its time and Unix time are the clock's.
    """

    def __init__(self, cluster: InMemoryCluster, node_id: str, clock: FakeClock) -> None:
        member = Member(node_id, lambda: NodeInfo(uid=node_id, name=node_id, version="test"))
        cluster.join(member)
        InMemorySessions.__init__(
            self, cluster, lambda: member, wall_clock=lambda: UNIX_START + clock()
        )
        Answers.__init__(self)
        self.told: list[tuple[str, str, int]] = []
        """Node, session and token of what older connections were told."""

    async def claim(self, asked: str, new: Owner, state: SessionState) -> Claimed:
        """See `SessionStore.claim`."""
        claimed = None if "claim" in self.failing else await super().claim(asked, new, state)
        await self._answer("claim")
        assert claimed is not None
        return claimed

    async def write(self, owner: Owner, state: SessionState) -> bool:
        """See `SessionStore.write`."""
        await self._answer("write")
        return await super().write(owner, state)

    async def release(self, owner: Owner, state: SessionState | None, *, forget: bool) -> bool:
        """See `SessionStore.release`."""
        await self._answer("release")
        return await super().release(owner, state, forget=forget)

    async def user_subscriptions(self, user: str) -> Mapping[str, KeptGrant]:
        """See `SessionStore.user_subscriptions`."""
        await self._answer("user_subscriptions")
        return await super().user_subscriptions(user)

    async def tell_superseded(self, node: str, session: str, token: int) -> None:
        """See `SessionStore.tell_superseded`."""
        await self._answer("tell_superseded")
        self.told.append((node, session, token))


class FakeTokens:
    """Believes the tokens it was given, and refuses every other one."""

    def __init__(self) -> None:
        self.connections: dict[str, ConnectionClaims | TokenError] = {}
        self.subscriptions: dict[str, SubscriptionClaims | TokenError] = {}

    def verify_connection_token(self, token: str, *, now: float) -> ConnectionClaims:
        """See `TokenVerifier.verify_connection_token`."""
        del now
        claims = self.connections.get(token, TokenError("unknown token"))
        if isinstance(claims, TokenError):
            raise claims
        return claims

    def verify_subscription_token(self, token: str, *, now: float) -> SubscriptionClaims:
        """See `TokenVerifier.verify_subscription_token`."""
        del now
        claims = self.subscriptions.get(token, TokenError("unknown token"))
        if isinstance(claims, TokenError):
            raise claims
        return claims


# --- a node around sessions -----------------------------------------------------------------------


class FakeNode:
    """The real hub, registry and departures on fakes of everything that does I/O.

    Make it within a running loop.
    """

    def __init__(
        self,
        *,
        client: dict[str, Any] | None = None,
        channel: dict[str, Any] | None = None,
        beside: FakeNode | None = None,
        **others: Any,
    ) -> None:
        """Take settings as a configuration file has them.

        `beside` another node it has the same settings, clock, tokens, sessions and presence.
        """
        self.given: dict[str, Any] = {"client": client or {}, "channel": channel or {}, **others}
        if beside is not None:
            self.given = beside.given
        every_setting = Settings.model_validate(self.given)
        settings = every_setting.client
        self.clock: FakeClock = FakeClock() if beside is None else beside.clock
        self.team = FakeTeam()
        self.verdicts = InMemoryVerdicts(clock=self.clock)
        self.is_shedding = False
        self.backplane = FakeBackplane()
        self.presence: FakePresence = FakePresence() if beside is None else beside.presence
        self.cluster: InMemoryCluster = (
            InMemoryCluster(clock=self.clock) if beside is None else beside.cluster
        )
        if beside is not None:
            self.backplane.node_id = beside.backplane.node_id + "'"
        self.sessions = FakeSessions(self.cluster, self.backplane.node_id, self.clock)
        self.tokens: FakeTokens = FakeTokens() if beside is None else beside.tokens
        self.metrics = Metrics()
        self.registry = SessionRegistry(self.clock)
        codec = JsonCodec()
        rules = ChannelRules(every_setting.channel)
        self.proxies = build_proxies(
            every_setting,
            Surroundings(
                verdicts=self.verdicts,
                instruments=self.metrics.proxy,
                monotonic=self.clock,
                wall_clock=lambda: UNIX_START + self.clock(),
                open_backend=self.team.open,
            ),
        )
        self.slow_clients = FakeSlowClients(
            self.clock,
            self.metrics,
            client_bytes=settings.queue_max_size,
            node_bytes=settings.queues_max_size,
            write_timeout_s=settings.write_timeout.total_seconds(),
        )
        framer = framer_of(self.metrics)
        self.hub = Hub(
            codec,
            self.metrics.delivery,
            self.slow_clients,
            framer=framer,
            flow_of=rules.flow,
            on_deserted=self.backplane.release,
            on_control=self.registry.apply,
        )
        self.backplane.receiver = self.hub
        self.departures = Departures(
            self.backplane,
            self.presence,
            max_held=settings.session.max_departures,
            monotonic=self.clock,
        )
        self.sessions.watch(self.registry.lost)
        self.keeper = Keeper(
            self.sessions,
            settings,
            self.metrics.session,
            node_id=lambda: self.backplane.node_id,
            wall_clock=lambda: UNIX_START + self.clock(),
        )
        self.services = Services(
            version="test",
            settings=settings,
            rules=rules,
            limits=LIMITS,
            codec=codec,
            framer=framer,
            ping_frame=message_frame(codec.server_ping, is_text=True),
            hub=self.hub,
            slow_clients=self.slow_clients,
            offenders=Offenders(),
            rate=Rate(settings.command_rate, settings.command_burst),
            is_shedding=lambda: self.is_shedding,
            backplane=self.backplane,
            presence=self.presence,
            departures=self.departures,
            tokens=self.tokens,
            proxies=self.proxies,
            registry=self.registry,
            metrics=self.metrics.session,
            keeper=self.keeper,
            monotonic=self.clock,
            wall_clock=lambda: UNIX_START + self.clock(),
            random=lambda: 0.0,
        )

    def client(self, headers: dict[str, str] | None = None) -> FakeClient:
        """A client whose WebSocket was just opened, with these headers."""
        return FakeClient(self, self.proxies.keep((headers or {}).items()))

    async def connected(self, token: str = "", **request: Any) -> FakeClient:
        """A client whose connect was answered."""
        client = self.client()
        if token:
            request["token"] = token
        await client.ask(connect=request)
        return client

    def trust(self, user: str, **claims: Any) -> str:
        """A connection token for a user."""
        token = f"token of {user}"
        self.tokens.connections[token] = ConnectionClaims(user=user, **claims)
        return token

    def pass_time(self, seconds: float) -> None:
        """Turn the clock in steps of the wheel and wake whose time has come."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.advance(min(0.25, end - self.clock.now))
            self.registry.wake_due()
            self.slow_clients.run_due()
            self.departures.release_due()


class FakeClient:
    """A session and the client at its other end."""

    def __init__(self, node: FakeNode, kept: Kept = NOTHING_KEPT) -> None:
        self.transport = FakeTransport()
        self.transport.set_protocol(self)
        self.link = FakeLink()
        self.outbound = Outbound(
            self.transport,
            node.slow_clients,
            on_pressure=self._on_pressure,
            on_slow=self._on_slow,
        )
        self.session = Session(node.services, self.link, self.outbound, kept)
        self._seen = 0
        self._id = 0

    def _on_pressure(self) -> None:
        self.session.on_pressure()

    def _on_slow(self, reason: Reason) -> None:
        self.session.leave_ticket()
        if reason.cuts_off:
            self.session.cut_off()
        else:
            self.session.close(codes.SLOW)

    def pause_writing(self) -> None:
        """Pass congestion on."""
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self.outbound.resume()

    def send(self, *commands: dict[str, Any]) -> None:
        """Send commands in one frame."""
        self.session.receive(b"\n".join(json.dumps(command).encode() for command in commands))

    def say(self, **command: Any) -> int:
        """Send one command under the next id, which is returned."""
        self._id += 1
        self.send({"id": self._id, **command})
        return self._id

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send one command and return its reply; what else came before it stays unread."""
        wanted = self.say(**command)
        await settle()
        return next(each for each in self.transport.messages if each.get("id") == wanted)

    def unread(self) -> list[dict[str, Any]]:
        """What came since the last look."""
        messages = self.transport.messages
        fresh = messages[self._seen :]
        self._seen = len(messages)
        return fresh

    def pushes(self, kind: str = "pub") -> list[Any]:
        """The pushes of one kind among all messages."""
        return [
            message["push"][kind]
            for message in self.transport.messages
            if kind in message.get("push", {})
        ]


def framer_of(metrics: Metrics | None = None, *, min_bytes: int = 0, level: int = 1) -> Framer:
    """Make frames in JSON; who has agreed to compression gets all of them compressed."""
    compression = Compression(min_bytes, level)
    return Framer((metrics or Metrics()).compression, is_text=True, compression=compression)


class ReadyFrame(Frame):
    """Bytes that are a frame, whoever reads it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(framer_of(), b"")
        self._ready = Shared(data)

    def on(self, wire: Wire) -> Shared:
        """The same on every wire."""
        del wire
        return self._ready


async def settle(passes: int = 25) -> None:
    """Let everything run that waits for nothing but the loop."""
    for _ in range(passes):
        await asyncio.sleep(0)


def publication(data: object, offset: int = 0) -> Publication:
    """A publication of any JSON value."""
    return Publication(data=Raw(msgspec.json.encode(data)), offset=offset)


def entry(
    channel: str, data: object, *, sequence: int = 1, offset: int = 0, epoch: str = ""
) -> Entry:
    """An inbox entry that brings a publication."""
    return Entry(
        partition=0,
        sequence=sequence,
        kind=EntryKind.PUBLICATION,
        channel=channel,
        epoch=epoch,
        publication=publication(data, offset),
    )


def join_entry(channel: str, client: str, *, sequence: int = 1, leaves: bool = False) -> Entry:
    """An inbox entry that tells of somebody who came, or went."""
    return Entry(
        partition=0,
        sequence=sequence,
        kind=EntryKind.LEAVE if leaves else EntryKind.JOIN,
        channel=channel,
        info=ClientInfo(user="", client=client),
    )


def offsets_of(messages: Sequence[dict[str, Any]]) -> list[int]:
    """The offsets of the publications among messages."""
    return [
        message["push"]["pub"].get("offset", 0)
        for message in messages
        if "pub" in message.get("push", {})
    ]
