"""Instruments of `session`."""

from __future__ import annotations

from realtime_node.telemetry.metrics.maker import Maker


class SessionMetrics:
    """Instruments of `session`."""

    def __init__(self, make: Maker) -> None:
        self.clients = make.gauge("clients", "Connected clients.")
        self.subscriptions = make.gauge("subscriptions", "Subscriptions of connected clients.")
        self.pending_departures = make.gauge(
            "pending_departures", "Presence entries and leaves still to be told to the store."
        )
        self.held_departures = make.gauge(
            "held_departures", "Clients, once per channel, that are away and still present."
        )
        self.pending_session_writes = make.gauge(
            "pending_session_writes", "Records of sessions still to be written to the store."
        )
        self.session_claims = make.counter(
            "session_claims", "Connects that asked for a session, by what became of it.", "verdict"
        )
        self.sessions_superseded = make.counter(
            "sessions_superseded", "Connections closed because another took their session over."
        )
        self.session_grants_left_out = make.counter(
            "session_grants_left_out", "Grants that had no room in the record of their session."
        )
        self.connects = make.counter("connects", "Clients that connected.")
        self.commands = make.counter("commands", "Commands executed.", "method")
        self.errors = make.counter("reply_errors", "Commands answered with an error.", "code")
        self.disconnects = make.counter("disconnects", "Connections closed by the node.", "code")
        self.api_work_overflows = make.counter(
            "api_work_overflows", "Connections closed because too many API calls waited for them."
        )
        self.upgrades_refused = make.counter(
            "upgrades_refused",
            "Handshakes refused for what they asked for: malformed, origin, protobuf or headers.",
            "reason",
        )
        self.frames_refused = make.counter(
            "frames_refused",
            "Connections closed for frames that break the rules or are too large, by close code.",
            "code",
        )
        self.recoveries = make.counter(
            "recoveries", "Attempts to continue from a position.", "recovered"
        )
        self.newest_only = make.counter(
            "newest_only_recoveries",
            "Recoveries cut to the newest, because the client was too slow again and again.",
        )
