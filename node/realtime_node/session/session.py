"""A session: one client's conversation, from the opened WebSocket to its close.

`receive` takes the payload of each frame; its commands are answered in `turns`, in order. Pushes of
channels do not come by here: the hub writes them to `outbound`. Whatever ends a session ends it
through `close`, once.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from msgspec import UNSET, Raw, UnsetType

from realtime_node.admission.token_bucket import spend
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.errors import BackendError, BackplaneError, Disconnect, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode, UnsubscribeCode
from realtime_node.protocol.messages import (
    ClientInfo,
    Command,
    ErrorBody,
    Push,
    Reply,
    UnsubscribePush,
)
from realtime_node.proxy.headers import NOTHING_KEPT, Kept
from realtime_node.proxy.proxies import Caller, Hold
from realtime_node.session import lifecycle, proxied
from realtime_node.session.commands import EXECUTE, method_of
from realtime_node.session.continuing import keep_grant
from realtime_node.session.departures import Departure
from realtime_node.session.lifecycle import NEVER, TRANSITIONS, Action, Event, State
from realtime_node.session.offenders import Stretch, Strikes
from realtime_node.session.outcome import Execute
from realtime_node.session.permissions import Asker
from realtime_node.session.resuming import Ending, Resumption, ending_of
from realtime_node.session.subscription import Subscription, raw_or_unset
from realtime_node.session.turns import Source, Turns, Work

if TYPE_CHECKING:
    from realtime_node.session.services import Services

logger = logging.getLogger(__name__)

OWN_PUBLICATION_WAIT: Final = 0.05
"""Seconds a publish reply may wait for its own publication to go out before it."""


class Link(Source, Protocol):
    """The WebSocket under a session; `server.websocket` implements it."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end the connection in order; writes nothing after it."""


class Session:
    """The state of one client and the ways it changes."""

    __slots__ = (
        "_link",
        "_turns",
        "client_id",
        "conn_info",
        "deadlines",
        "expires_at",
        "hold",
        "kept",
        "outbound",
        "rate_full_at",
        "resumption",
        "services",
        "state",
        "strikes",
        "subscriptions",
        "user",
        "wheel_bucket",
    )

    def __init__(
        self, services: Services, link: Link, outbound: Outbound, kept: Kept = NOTHING_KEPT
    ) -> None:
        """Open a session over `link`; its frames go to `outbound`, its headers were `kept`."""
        self.services = services
        self.outbound = outbound
        self.client_id = str(uuid4())
        self.user = ""
        self.resumption: Resumption | None = None
        """What it has of a session that outlives it, if the client asked for one."""
        self.conn_info: Raw | UnsetType = UNSET
        self.expires_at: float = 0
        self.state = State.OPENED
        self.subscriptions: dict[str, Subscription] = {}
        self.deadlines = lifecycle.opened(services.limits, services.monotonic())
        self.wheel_bucket: int | None = None
        self.rate_full_at: float = 0
        """See `token_bucket`."""
        self.kept = kept
        """The headers that the team's backend is told."""
        self.hold: Hold | None = None
        """What stands behind the connection, if the backend let it in and that is kept."""
        self.strikes: Strikes = ()
        """When this client was closed for slowness, in connections before this one."""
        self._link = link
        self._turns: Turns | None = None
        services.registry.open(self)

    # --- What comes in -------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Take one frame's commands; pongs are noted at once, the rest is answered in order."""
        if self.state is State.CLOSED:
            return
        try:
            commands = self.services.codec.decode_commands(payload)
            self.demand_rate(len(commands))
            for command in commands:
                if command.id == 0 and command.send is None:
                    self._pong()
                else:
                    self.enqueue(partial(self._answer, command))
        except Disconnect as disconnect:
            self.disconnect(disconnect)

    def demand_rate(self, count: int) -> None:
        """Count what the client sent: commands, and control frames of the WebSocket.

        Raises `Disconnect` (3013) if that is more than a connection may send.
        """
        services = self.services
        full_at = spend(self.rate_full_at, count, services.rate, services.monotonic())
        if full_at is None:
            raise Disconnect(*codes.TOO_MANY_REQUESTS_CLOSE, detail="client.command_rate")
        self.rate_full_at = full_at

    def enqueue(self, work: Work) -> None:
        """Do something in turn with the client's commands."""
        if self.state is State.CLOSED:
            return
        if self._turns is None:
            self._turns = turns = Turns(self._link)
            turns.task = asyncio.get_running_loop().create_task(self._take_turns(turns))
        self._turns.add(work)

    def _pong(self) -> None:
        if self.deadlines.pong is NEVER:
            raise Disconnect(*codes.BAD_REQUEST, detail="a pong without a ping")
        self.deadlines.pong = NEVER

    # --- Answering, in order -------------------------------------------------------------------

    async def _take_turns(self, turns: Turns) -> None:
        try:
            await turns.run()
        except Disconnect as disconnect:
            self.disconnect(disconnect)
        except Exception:
            # A bug of ours must cost this client its connection and nobody anything more.
            logger.exception("client %s: unexpected error", self.client_id)
            self.close(codes.INTERNAL_SERVER_ERROR)
        finally:
            self._turns = None

    async def _answer(self, command: Command) -> None:
        """Execute one command and write its reply, whatever becomes of it."""
        method, request = method_of(command)
        if self.state is State.REFUSED and method != "connect":
            return  # sent ahead, behind the connect that was refused
        metrics = self.services.metrics
        metrics.commands.labels(method).inc()
        execute = self._permitted(command, method)
        try:
            outcome = await execute(self, command.id, request)
        except ReplyError as error:
            body = ErrorBody(code=error.code, message=error.message, temporary=error.temporary)
        except (BackplaneError, BackendError) as error:
            # A backend that fails is told of by its guard, once.
            level = logging.WARNING if isinstance(error, BackplaneError) else logging.DEBUG
            logger.log(level, "client %s: %s failed: %s", self.client_id, method, error)
            body = ErrorBody(
                code=codes.INTERNAL.code, message=codes.INTERNAL.message, temporary=True
            )
        else:
            if outcome.reply is not None:
                self.send_reply(outcome.reply)
            if outcome.then is not None and self.state is not State.CLOSED:
                await outcome.then()
            return
        if self.state in (State.OPENED, State.REFUSED):
            self.state = TRANSITIONS[self.state, Event.REFUSE]
        metrics.errors.labels(body.code).inc()
        self.send_reply(Reply(id=command.id, error=body))

    def _permitted(self, command: Command, method: str) -> Execute:
        """Return what executes a command, if its turn in the session's life has come.

        Raises `Disconnect` (3501) for a first command that is not connect and a connect that is
        not first, for a command without id (only `send` has none), and for an unknown one.
        """
        execute = EXECUTE.get(method)
        if execute is None:
            raise Disconnect(*codes.BAD_REQUEST, detail="unknown command")
        if not command.id and command.send is None:
            raise Disconnect(*codes.BAD_REQUEST, detail="command without id")
        if (method == "connect") is (self.state is State.CONNECTED):
            raise Disconnect(*codes.BAD_REQUEST, detail=f"{method} while {self.state.value}")
        return execute

    async def await_own_publication(self, channel: str, sequence: int) -> None:
        """Let a publication of this client reach it before the publish is answered.

        That is what a single Centrifugo node does and some applications rely on; with a backplane
        in between it is done only where it costs nobody: never while the client has other commands
        waiting or is congested, and for a moment at most.
        """
        if self._turns is None or self.outbound.pressure is not Pressure.HEALTHY:
            return
        delivered = self.services.hub.wait_delivered(channel, sequence)
        if delivered is not None:
            await self._turns.wait_idly(delivered, OWN_PUBLICATION_WAIT)

    # --- What goes out -------------------------------------------------------------------------

    def send_reply(self, reply: Reply) -> None:
        """Write one reply."""
        self._send(self.services.codec.encode_reply(reply))

    def send_push(self, push: Push) -> None:
        """Write one push that is for this client alone."""
        self._send(self.services.codec.encode_push(push))

    def _send(self, payload: bytes) -> None:
        self.outbound.send(self.services.framer.single(payload, self.outbound.wire))

    def on_pressure(self) -> None:
        """Let the hub use the way to this client that fits its pressure."""
        self.services.hub.refresh_send(self.subscriptions, self)

    # --- Life ----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether nobody has ended it yet."""
        return self.state is not State.CLOSED

    def connect(self, user: str, conn_info: bytes | None, expires_at: float) -> None:
        """Become a connected client of `user`."""
        services = self.services
        self.user = user
        self.conn_info = raw_or_unset(conn_info)
        self.state = TRANSITIONS[self.state, Event.CONNECT]
        self.deadlines = lifecycle.connected(
            services.limits, services.monotonic(), spread=services.random()
        )
        self.set_expiry(expires_at)
        services.registry.connected(self)
        services.metrics.connects.inc()

    def rely_on(self, hold: Hold | None) -> None:
        """Keep alive what the backend said of this client, instead of what it said before."""
        if self.hold is not None:
            self.hold.release()
        self.hold = hold

    def set_expiry(self, expires_at: float) -> None:
        """Expire at this Unix time unless refreshed before; 0: never."""
        self.expires_at = expires_at
        if self.services.proxies.refreshes:
            self.deadlines.refresh = self._deadline(expires_at, is_refreshed=True)
        else:
            self.deadlines.expiry = self._deadline(expires_at)
        self.services.registry.reschedule(self)

    def watch_subscriptions(self) -> None:
        """Look again when the first of the subscriptions expires."""
        ends = [
            self._deadline(held.expires_at, is_refreshed=self.refreshes(channel))
            for channel, held in self.subscriptions.items()
            if held.is_active and held.expires_at
        ]
        self.deadlines.sub_expiry = min(ends, default=NEVER)
        self.services.registry.reschedule(self)

    def _deadline(self, expires_at: float, *, is_refreshed: bool = False) -> float:
        """Translate an end into a deadline of the monotonic clock.

        A client has some time to refresh a token that has ended; this node has none.
        """
        if not expires_at:
            return NEVER
        services = self.services
        expires_in = expires_at - services.wall_clock()
        grace = 0 if is_refreshed else services.limits.expiry_grace
        return services.monotonic() + expires_in + grace

    def refreshes(self, channel: str) -> bool:
        """Whether the team's backend is asked when a subscription is about to expire."""
        return self.services.rules.rule(channel).options.sub_refresh_proxy_enabled

    def wake(self) -> None:
        """Do what is due by itself; called by the registry at the earliest deadline."""
        services = self.services
        step = lifecycle.next_step(self.deadlines, services.limits, services.monotonic())
        if step.close is not None:
            self.close(step.close)
            return
        if step.action is Action.PING:
            self.outbound.send(services.ping_frame)
        elif step.action is Action.REFRESH:
            proxied.refresh_soon(self)
        elif step.action is Action.EXPIRE_SUBSCRIPTIONS:
            self._expire_subscriptions()
        services.registry.reschedule(self)

    def _expire_subscriptions(self) -> None:
        now = self.services.wall_clock()
        for channel, held in list(self.subscriptions.items()):
            if not held.is_active or not held.expires_at:
                continue
            if self.refreshes(channel):
                if held.expires_at <= now:
                    proxied.refresh_subscription_soon(self, channel, held)
            elif held.expires_at <= now - self.services.limits.expiry_grace:
                keep_grant(self, channel, None)
                self.end_subscription(channel, codes.UNSUBSCRIBED_EXPIRED)
        self.watch_subscriptions()

    def disconnect(self, disconnect: Disconnect) -> None:
        """Close because of a `Disconnect` that was raised."""
        if disconnect.detail:
            logger.info("client %s: closing: %s", self.client_id, disconnect)
        self.close(CloseCode(disconnect.code, disconnect.reason))

    def close(self, close: CloseCode, ending: Ending | None = None) -> None:
        """End the session from our side; what was written before still goes out.

        Without an `ending` the code says whether the client may come back.
        """
        if self.state is State.CLOSED:
            return
        self.services.metrics.disconnects.labels(close.code).inc()
        self.ended(ending or ending_of(close))
        self._link.close(close.code, close.reason)

    def cut_off(self) -> None:
        """End the session without a word, which the client sees as 1006."""
        if self.state is not State.CLOSED:
            self.services.metrics.disconnects.labels(codes.ABNORMAL).inc()
            self.ended()

    def leave_ticket(self) -> None:
        """Let this client be known, if it comes back to recover, as one that was too slow."""
        services = self.services
        positioned = [name for name, held in self.subscriptions.items() if held.positioned]
        stretches = {
            name: Stretch(position.epoch, self.subscriptions[name].since, position.offset)
            for name, position in services.hub.positions(positioned).items()
        }
        services.offenders.leave(self.user, stretches, self.strikes, services.monotonic())

    def superseded(self) -> None:
        """End the connection because another has its session now."""
        if self.state is not State.CLOSED:
            self.services.metrics.sessions_superseded.inc()
            self.close(codes.FORCE_DISCONNECT, Ending.SUPERSEDED)

    def ended(self, ending: Ending = Ending.LOST) -> None:
        """Let go of everything; the session is over, whoever ended it."""
        if self.state is State.CLOSED:
            return
        self.state = TRANSITIONS[self.state, Event.CLOSE]
        self.outbound.end()
        for channel in list(self.subscriptions):
            self.forget(channel, ending)
        self.services.keeper.ended(self, ending)
        if self._turns is not None:
            self._turns.stop()
        self.rely_on(None)
        self.services.registry.closed(self)

    # --- Subscriptions -------------------------------------------------------------------------

    def asker(self, channel: str = "") -> Asker:
        """Describe this client to the permission rules."""
        held = self.subscriptions.get(channel)
        return Asker(
            user=self.user,
            is_subscribed=held is not None and held.is_active,
            insecure=self.services.settings.insecure,
        )

    def caller(self) -> Caller:
        """Describe this client to the team's backend."""
        return Caller(self.client_id, self.user, self.kept)

    def info(self, channel: str = "") -> ClientInfo:
        """Describe this client to others, in a channel with what it is known by there."""
        held = self.subscriptions.get(channel)
        return ClientInfo(
            user=self.user,
            client=self.client_id,
            conn_info=self.conn_info,
            chan_info=UNSET if held is None else held.chan_info,
        )

    def end_subscription(self, channel: str, unsubscribe: UnsubscribeCode) -> None:
        """Take a subscription away and tell the client why."""
        if channel not in self.subscriptions:
            return
        self.forget(channel)
        body = UnsubscribePush(code=unsubscribe.code, reason=unsubscribe.reason)
        self.send_push(Push(channel=channel, unsubscribe=body))

    def lose_position(self, channel: str) -> bool:
        """End a subscription whose stream has a hole; the SDK subscribes again and recovers."""
        held = self.subscriptions.get(channel)
        if held is None or not held.positioned:
            return False
        if held.server_side:
            self.close(codes.INSUFFICIENT_STATE)
        else:
            self.end_subscription(channel, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        return True

    def forget(self, channel: str, ending: Ending = Ending.GOODBYE) -> None:
        """Drop a subscription, and let others know if they are to, now or after its grace."""
        info = self.info(channel)
        held = self.subscriptions.pop(channel)
        if held.hold is not None:
            held.hold.release()
        self.services.hub.leave(channel, self)
        announces = held.announces and (held.is_active or held.was_present)
        if ending is Ending.SUPERSEDED and not held.is_present:
            announces = False  # where there is no presence to ask, the later connection is there
        if held.is_present or announces:
            departure = Departure(
                info, has_presence=held.is_present, announces=announces, token=held.stay.token
            )
            grace_s = held.stay.grace_ms / 1000 if ending.stays and held.is_present else 0
            self.services.departures.add(channel, departure, after_s=grace_s)
