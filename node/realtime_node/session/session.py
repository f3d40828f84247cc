"""A session: one client's conversation, from the opened WebSocket to its close.

`receive` takes the payload of each frame; its commands are answered in `turns`, in order. Pushes of
channels do not come by here: the hub writes them to `outbound`. Whatever ends a session ends it
through `close`, once.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from msgspec import UNSET, Raw, UnsetType

from realtime_node import failures
from realtime_node.admission.token_bucket import carried_over, spend
from realtime_node.delivery.outbound import Outbound, Pressure
from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.protocol.codes import CloseCode, UnsubscribeCode
from realtime_node.protocol.messages import (
    ClientInfo,
    Push,
    Reply,
    UnsubscribePush,
)
from realtime_node.proxy.headers import NOTHING_KEPT, Kept
from realtime_node.proxy.holding import Hold
from realtime_node.proxy.proxies import Caller
from realtime_node.session import lifecycle
from realtime_node.session.answering import answer
from realtime_node.session.departures import Departure
from realtime_node.session.expiring import set_expiry
from realtime_node.session.lifecycle import NEVER, TRANSITIONS, Action, Event, State
from realtime_node.session.link import Link
from realtime_node.session.offenders import Stretch, Strikes
from realtime_node.session.permissions import Asker
from realtime_node.session.refreshing import expire_subscriptions, refresh_soon
from realtime_node.session.resuming import Ending, Resumption, ending_of
from realtime_node.session.subscription import Subscription, raw_or_unset
from realtime_node.session.turns import Turns, Work
from realtime_node.supervision import guard, is_asked_for

if TYPE_CHECKING:
    from realtime_node.session.services import Services

logger = logging.getLogger(__name__)

OWN_PUBLICATION_WAIT: Final = 0.05
"""Seconds a publish reply may wait for its own publication to go out before it."""


MAX_WAITING_FOR_API: Final = 512
"""Pieces of work of one client that may wait before the HTTP API adds no more."""


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
        "rate",
        "rate_full_at",
        "resumption",
        "services",
        "state",
        "strikes",
        "subscriptions",
        "token_channels",
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
        self.token_channels: frozenset[str] | None = None
        """The server-side subscriptions that its token brought; None: no token decides on them."""
        self.deadlines = lifecycle.opened(services.limits, services.monotonic())
        self.wheel_bucket: int | None = None
        self.rate = services.rate
        """How much it may ask for, as `rate_full_at` counts it."""
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
                    self.enqueue(partial(answer, self, command))
        except Disconnect as disconnect:
            self.disconnect(disconnect)

    def demand_rate(self, count: int) -> None:
        """Count what the client sent: commands, and control frames of the WebSocket.

        Raises `Disconnect` (3013) if that is more than a connection may send.
        """
        services = self.services
        if self.rate is not services.rate:  # the settings have changed
            self.rate = services.rate
            changed_at = services.rate_changed_at
            self.rate_full_at = carried_over(self.rate_full_at, self.rate, changed_at)
        full_at = spend(self.rate_full_at, count, self.rate, services.monotonic())
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

    def enqueue_for_api(self, work: Work) -> None:
        """Do something for a call of the HTTP API, in turn with the client's commands.

        A client for which too much of it waits is closed (3013): reading less from the client, as
        for its own commands, would not help. It comes back to the state that it is to have.
        """
        if self._turns is not None and len(self._turns) >= MAX_WAITING_FOR_API:
            self.services.metrics.api_work_overflows.inc()
            self.close(codes.TOO_MANY_REQUESTS_CLOSE)
            return
        self.enqueue(work)

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
        except (Exception, asyncio.CancelledError) as error:
            if is_asked_for(error):
                raise
            self.failed(error)
        finally:
            self._turns = None
            # The task's traceback leads to these frames, and so to the task: no cycle is left.
            turns.task = None

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
    def is_connected(self) -> bool:
        """Whether its connect was answered, and nobody has ended it yet."""
        return self.state is State.CONNECTED

    @property
    def is_open(self) -> bool:
        """Whether nobody has ended it yet."""
        return self.state is not State.CLOSED

    def identify(self, user: str, conn_info: bytes | None) -> None:
        """Know who the client is: calls of the HTTP API about `user` reach it from now on."""
        self.user = user
        self.conn_info = raw_or_unset(conn_info)
        self.services.registry.identified(self)

    def connect(self, expires_at: float) -> None:
        """Become a connected client; its server-side subscriptions are made by now."""
        services = self.services
        self.state = TRANSITIONS[self.state, Event.CONNECT]
        self.deadlines = lifecycle.connected(
            services.limits, services.monotonic(), spread=services.random()
        )
        set_expiry(self, expires_at)
        services.registry.num_clients += 1
        services.metrics.connects.inc()

    def refuse(self) -> None:
        """Be of no use any more: the connect was answered with an error, and nothing is left of it.

        The client may be back over another connection before this one is closed.
        """
        if self.state is not State.OPENED:
            return
        services = self.services
        self.state = TRANSITIONS[self.state, Event.REFUSE]
        self.deadlines = lifecycle.refused(services.monotonic())
        self.rely_on(None)
        services.registry.refused(self)
        services.registry.reschedule(self)
        services.keeper.refused(self)

    def rely_on(self, hold: Hold | None) -> None:
        """Keep alive what the backend said of this client, instead of what it said before."""
        if self.hold is not None:
            self.hold.release()
        self.hold = hold

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
            refresh_soon(self)
        elif step.action is Action.EXPIRE_SUBSCRIPTIONS:
            expire_subscriptions(self)
        services.registry.reschedule(self)

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
        self.services.metrics.disconnects.labels(codes.label_of(close.code)).inc()
        try:
            self.ended(ending or ending_of(close))
        finally:
            self._link.close(close.code, close.reason)

    def failed(self, error: BaseException) -> None:
        """Close because of a bug: it costs this client its connection, and nobody anything."""
        logger.error("client %s: closing: unexpected error", self.client_id)
        failures.current().callback_failed("session", error)
        with guard("session"):
            self.close(codes.INTERNAL_SERVER_ERROR)

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
        if self.state is State.CONNECTED:
            self.services.registry.num_clients -= 1
        self.state = TRANSITIONS[self.state, Event.CLOSE]
        try:
            self.outbound.end()
            for channel in list(self.subscriptions):
                with guard("session"):
                    self.forget(channel, ending)
            self.services.keeper.ended(self, ending)
            if self._turns is not None:
                self._turns.stop()
            self.rely_on(None)
        finally:
            # A session that is known for ever would keep a drain from its end.
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

    def hold_subscription(self, channel: str, subscription: Subscription) -> None:
        """Have a subscription from now on, one that is being made as well."""
        assert channel not in self.subscriptions
        self.subscriptions[channel] = subscription
        self.services.registry.num_subscriptions += 1

    def release_subscription(self, channel: str) -> Subscription:
        """Have a subscription no longer, and return it."""
        self.services.registry.num_subscriptions -= 1
        return self.subscriptions.pop(channel)

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
        held = self.release_subscription(channel)
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
