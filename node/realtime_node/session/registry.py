"""All sessions of this node: by client, by user, and by what is due next.

Control messages of the cluster (an API call on some node) arrive here and are applied to the
sessions they mean. One task turns the timer wheel for everybody.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from realtime_node.cluster.backplane import (
    Control,
    DisconnectUser,
    SubscribeUser,
    SupersedeSession,
    UnsubscribeUser,
)
from realtime_node.cluster.session_store import Owner
from realtime_node.protocol.codes import CloseCode
from realtime_node.session.control_queue import ControlQueue
from realtime_node.session.recent_calls import Call, RecentCalls
from realtime_node.session.resuming import ending_of
from realtime_node.session.subscribing import subscribe_from_server, unsubscribe_from_server
from realtime_node.session.timer_wheel import RESOLUTION, TimerWheel
from realtime_node.supervision import guard, supervise

if TYPE_CHECKING:
    from realtime_node.session.session import Session

PAUSE: Final = 4 * RESOLUTION
"""Seconds between two turns of the wheel beyond which this process has stood still."""


MAX_TOLD: Final = 10_000
"""Sessions taken over elsewhere that are remembered, the oldest gone first: long enough for claims
that were on their way, which take seconds at most."""

SESSIONS_PER_PASS: Final = 200
"""Sessions that are woken or closed before the loop goes on with other things."""
SUBSCRIBING_EFFORT: Final = 8
"""What a server-side subscription costs, measured by its end; see `control_queue`."""


class SessionRegistry:
    """The sessions of one node."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Keep time by `monotonic`, in seconds."""
        self._monotonic = monotonic
        self._open: set[Session] = set()
        self._by_client: dict[str, Session] = {}
        self._by_user: dict[str, set[Session]] = {}
        self._by_session: dict[str, Session] = {}
        # What was told of a session may be about a connection whose claim is still on its way back.
        self._told: OrderedDict[str, int] = OrderedDict()
        self.calls = RecentCalls()
        self._wheel: TimerWheel[Session] = TimerWheel(monotonic())
        self._turned_at = monotonic()
        self._has_waited = False
        self._due: deque[Session] = deque()
        self._controls = ControlQueue(self._apply)
        self.num_clients = 0
        """Connected clients; sessions count themselves here."""
        self.num_subscriptions = 0
        """Subscriptions of all clients; sessions count theirs here, so that nobody has to walk."""
        self._task: asyncio.Task[None] | None = None

    # --- Counts --------------------------------------------------------------------------------

    @property
    def num_users(self) -> int:
        """Different users among them; all anonymous ones are one."""
        return len(self._by_user)

    def connections_of(self, user: str) -> int:
        """Connections of one user on this node, those that are being let in included."""
        return len(self._by_user.get(user, ()))

    @property
    def num_open(self) -> int:
        """Clients whose WebSocket is open, whether they have connected by now or not."""
        return len(self._open)

    def list_open(self) -> list[Session]:
        """Each of them."""
        return list(self._open)

    # --- Sessions come and go ------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """Know a session from its WebSocket's opening on."""
        self._open.add(session)
        self.reschedule(session)

    def identified(self, session: Session) -> None:
        """Know a session's user, from before its server-side subscriptions are made."""
        self._by_client[session.client_id] = session
        self._by_user.setdefault(session.user, set()).add(session)

    def took_over(self, session: Session) -> bool:
        """Know whose a resumable session is, and close the connection that had it.

        False if a later connection took it over while this one was still on its way.
        """
        assert session.resumption is not None
        owner = session.resumption.owner
        if self._told.get(owner.session, 0) > owner.token:
            return False
        if not self._supersede(owner.session, owner.token):
            return False
        self._by_session[owner.session] = session
        return True

    def _supersede(self, resumable: str, token: int) -> bool:
        """Close the connection of a session that is older than `token`; False if it is newer."""
        other = self._by_session.get(resumable)
        if other is None or other.resumption is None:
            return True
        if other.resumption.owner.token > token:
            return False
        if other.resumption.owner.token < token:
            other.superseded()
        return True

    def lost(self, owner: Owner) -> None:
        """Close the connection of a session that turned out to be another's."""
        held = self._by_session.get(owner.session)
        if held and held.resumption and held.resumption.owner.connection == owner.connection:
            held.superseded()

    def closed(self, session: Session) -> None:
        """Forget a session."""
        self._wheel.forget(session)
        self._open.discard(session)
        self.refused(session)

    def refused(self, session: Session) -> None:
        """Forget whose a session is; it may still be open."""
        if session.resumption is not None:
            resumable = session.resumption.owner.session
            if self._by_session.get(resumable) is session:
                del self._by_session[resumable]
        if self._by_client.get(session.client_id) is not session:
            return
        del self._by_client[session.client_id]
        of_user = self._by_user[session.user]
        of_user.discard(session)
        if not of_user:
            del self._by_user[session.user]

    def reschedule(self, session: Session) -> None:
        """Wake a session at its earliest deadline."""
        if session in self._open:
            self._wheel.sleep(session, session.deadlines.earliest())

    async def close_all(self, close: CloseCode) -> None:
        """Close every session, some in each pass of the loop; cancelled, the rest at once."""
        waiting = list(self._open)
        try:
            while waiting:
                _close_last(waiting, SESSIONS_PER_PASS, close)
                await asyncio.sleep(0)
        finally:
            _close_last(waiting, len(waiting), close)

    # --- Time ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to turn the wheel."""
        self._task = supervise(self._turn, name="deadlines")

    async def stop(self) -> None:
        """Stop turning it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _turn(self) -> None:
        is_more = False
        while True:
            await asyncio.sleep(0 if is_more else RESOLUTION)
            is_more = self.wake_due()

    def wake_due(self) -> bool:
        """Wake sessions whose deadline has come; called once per resolution of the wheel.

        Returns whether there are more, to be woken by a call in the next pass of the loop.

        After a pause of this process nobody is judged before the next turn: what the clients sent
        meanwhile, their pongs above all, waits in the sockets and is read until then. A process
        that is late all the time waits every other turn, so deadlines are met even there.
        """
        now = self._monotonic()
        was_paused = now - self._turned_at > PAUSE
        self._turned_at = now
        self._has_waited = was_paused and not self._has_waited
        if self._has_waited:
            return False
        self._due.extend(self._wheel.wake(now))
        for _ in range(min(SESSIONS_PER_PASS, len(self._due))):
            session = self._due.popleft()
            if session not in self._open:
                continue  # it has ended since it was due
            try:
                session.wake()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is noted
                # The wheel turns for everybody: a bug may cost one client only.
                session.failed(error)
        return bool(self._due)

    # --- Control messages ----------------------------------------------------------------------

    def apply(self, control: Control) -> Awaitable[None] | None:
        """Do what a control message asks for with the sessions it means.

        Returns None when that is done; else the rest follows in the next passes of the loop, and
        what is returned completes behind it.
        """
        return self._controls.add(control)

    def _apply(self, control: Control) -> Iterator[int]:
        """Apply a message session by session; yield the effort that each took."""
        match control:
            case DisconnectUser() | UnsubscribeUser() | SubscribeUser():
                self.calls.add(control)
                for session in self._meant(control):
                    effort = effort_of(session, control)
                    with guard("session"):
                        apply_call(session, control)
                    yield effort
            case SupersedeSession():
                self._told[control.session] = max(control.token, self._told.pop(control.session, 0))
                if len(self._told) > MAX_TOLD:
                    self._told.popitem(last=False)
                self._supersede(control.session, control.token)
                yield 1

    def _meant(self, control: Call) -> Iterable[Session]:
        if not control.session and not control.client:
            return list(self._by_user.get(control.user, ()))
        # A session or a client says whose it is: a user is checked only where one is named.
        by_session, by_client = control.session, control.client
        meant = self._by_session.get(by_session) if by_session else self._by_client.get(by_client)
        if meant is None or control.user not in ("", meant.user):
            return ()
        return (meant,) if by_client in ("", meant.client_id) else ()


def _close_last(sessions: list[Session], count: int, close: CloseCode) -> None:
    """Take so many sessions off the end of a list, and close them."""
    for _ in range(min(count, len(sessions))):
        with guard("session"):
            sessions.pop().close(close)


def apply_call(session: Session, call: Call) -> None:
    """Do with one session what a call of the HTTP API asks for."""
    match call:
        case DisconnectUser():
            if session.client_id not in call.whitelist:
                close = CloseCode(call.code, call.reason)
                session.close(close, ending_of(close, meant=True))
        case UnsubscribeUser():
            unsubscribe_from_server(session, [call.channel] if call.channel else None)
        case SubscribeUser():
            subscribe_from_server(session, call)


def effort_of(session: Session, call: Call) -> int:
    """Return what a call costs with one session, by the measure of `control_queue`."""
    match call:
        case SubscribeUser():
            return SUBSCRIBING_EFFORT
        case UnsubscribeUser(channel=channel) if channel:
            return 2
        case _:
            return 1 + len(session.subscriptions)
