"""When connections and subscriptions end: the end that a token names becomes a deadline.

`session` wakes at the earliest; `refreshing` does what is due then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_node.session.lifecycle import NEVER

if TYPE_CHECKING:
    from realtime_node.session.session import Session


def has_ended(expires_at: float, now: float) -> bool:
    """Whether an end has come; both in Unix seconds, 0: it never ends."""
    return expires_at != 0 and expires_at <= now


def set_expiry(session: Session, expires_at: float) -> None:
    """Expire at this Unix time unless refreshed before; 0: never."""
    session.expires_at = expires_at
    deadlines = session.deadlines
    # Changed settings may have moved the refresh from the client to this node, or back.
    if session.services.proxies.refreshes:
        deadlines.refresh = _deadline(session, expires_at, is_refreshed=True)
        deadlines.expiry = NEVER
    else:
        deadlines.expiry = _deadline(session, expires_at)
        deadlines.refresh = NEVER
    session.services.registry.reschedule(session)


def watch_subscriptions(session: Session) -> None:
    """Look again when the first of the subscriptions expires."""
    ends = [
        _deadline(session, held.expires_at, is_refreshed=refreshes(session, channel))
        for channel, held in session.subscriptions.items()
        if held.is_active and held.expires_at
    ]
    session.deadlines.sub_expiry = min(ends, default=NEVER)
    session.services.registry.reschedule(session)


def _deadline(session: Session, expires_at: float, *, is_refreshed: bool = False) -> float:
    """Translate an end into a deadline of the monotonic clock.

    A client has some time to refresh a token that has ended; this node has none.
    """
    if not expires_at:
        return NEVER
    services = session.services
    expires_in = expires_at - services.wall_clock()
    grace = 0 if is_refreshed else services.limits.expiry_grace
    return services.monotonic() + expires_in + grace


def refreshes(session: Session, channel: str) -> bool:
    """Whether the team's backend is asked when a subscription is about to expire."""
    held = session.subscriptions.get(channel)
    if held is None or not held.is_proxied:
        return False
    rule = session.services.rules.find(channel)
    return rule is not None and rule.options.sub_refresh_proxy_enabled
