"""What a connection does for the session that outlives it: grants, presence, and whose it is.

For a client that asked for no session all of it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_node.cluster.presence import NO_STAY, Stay
from realtime_node.errors import Disconnect
from realtime_node.protocol import codes

if TYPE_CHECKING:
    from realtime_node.config import ChannelOptions
    from realtime_node.session.session import Session
    from realtime_node.session.subscription import Grant


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


def stay_in(session: Session, options: ChannelOptions) -> Stay:
    """Return how this client's presence in a channel with these options stands."""
    if session.resumption is None:
        return NO_STAY
    grace_ms = int(options.presence_grace.total_seconds() * 1000)
    return Stay(session.resumption.owner.token, grace_ms, options.join_leave)
