"""What a connection does for the session that outlives it: grants, presence, and whose it is.

For a client that asked for no session all of it does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET, Raw, UnsetType

from realtime_node.cluster.presence import NO_STAY, Stay
from realtime_node.errors import Disconnect
from realtime_node.protocol import codes
from realtime_node.session.together import finish_all

if TYPE_CHECKING:
    from realtime_node.config import ChannelOptions
    from realtime_node.session.session import Session
    from realtime_node.session.subscription import Grant, Subscription


def keep_grant(session: Session, channel: str, grant: Grant | None) -> None:
    """Have what was granted in a channel outlive the connection; None: have it no longer.

    With options of its own it does not: those are given anew.
    """
    if session.resumption is None:
        return
    grants = session.resumption.grants
    if grant is not None:
        # What stands behind it is this connection's.
        grant = grant._replace(hold=None)
    if grant is None or grant.override is not None:
        if grants.pop(channel, None) is None:
            return
    elif grant == grants.get(channel):
        return
    else:
        grants[channel] = grant
    session.services.keeper.touch(session)


def granted(session: Session, channel: str) -> Grant | None:
    """Return what was granted in a channel before, if that has not expired.

    What the server subscribed it to by itself is no grant to ask for it.
    """
    if session.resumption is None:
        return None
    grant = session.resumption.living(channel, session.services.wall_clock())
    return None if grant is None or grant.server_side else grant


def granted_channels(session: Session) -> list[str]:
    """Return the channels that it is subscribed to, and those that it may be without asking."""
    if session.resumption is None:
        return list(session.subscriptions)
    return list({**session.subscriptions, **session.resumption.grants})


async def demand_ownership(session: Session) -> None:
    """Raise `Disconnect` (3503) if another connection has this one's session now."""
    resumption = session.resumption
    if resumption and await session.services.keeper.is_superseded(resumption.owner):
        session.superseded()
        raise Disconnect(*codes.FORCE_DISCONNECT, detail="its session is taken over")


def prolong_grant(session: Session, channel: str, held: Subscription) -> None:
    """Let what a session keeps of a channel end when the subscription does, with its new info."""
    if session.resumption is None:
        return
    grant = session.resumption.grants.get(channel)
    if grant is not None:
        info = None if held.chan_info is UNSET else bytes(held.chan_info)
        keep_grant(session, channel, grant._replace(expires_at=held.expires_at, chan_info=info))


async def change_info(session: Session, info: Raw | UnsetType) -> None:
    """Have a client known by other `conn_info`, in its channels as well.

    Raises `BackplaneError`; then nothing has changed.
    """
    if info == session.conn_info:
        return
    before, session.conn_info = session.conn_info, info
    try:
        await _enter_again(session, list(session.subscriptions))
    except BaseException:
        session.conn_info = before
        raise


async def change_channel_info(
    session: Session, channel: str, held: Subscription, info: Raw | UnsetType
) -> None:
    """Have a client known by other `chan_info` in one channel; raises as `change_info`."""
    if info == held.chan_info:
        return
    before, held.chan_info = held.chan_info, info
    try:
        await _enter_again(session, [channel])
    except BaseException:
        held.chan_info = before
        raise


async def _enter_again(session: Session, channels: Sequence[str]) -> None:
    """Bring presence up to date; a channel that was left meanwhile stays left."""
    services = session.services
    present = [
        (channel, held)
        for channel in channels
        if (held := session.subscriptions.get(channel)) is not None and held.is_present
    ]
    await finish_all(
        services.presence.add(channel, session.info(channel), held.stay)
        for channel, held in present
    )


def stay_in(session: Session, options: ChannelOptions) -> Stay:
    """Return how this client's presence in a channel with these options stands."""
    if session.resumption is None:
        return NO_STAY
    grace_ms = int(options.presence_grace.total_seconds() * 1000)
    return Stay(session.resumption.owner.token, grace_ms, options.join_leave)
