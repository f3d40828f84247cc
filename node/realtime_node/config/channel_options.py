"""What the channels of one namespace do: history, presence, who may, and how messages flow.

`channels` gives them to the namespaces; docs/configuration.md is written from the docstrings here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from realtime_node.config.proxies import DEFAULT_PROXY, ProxyName
from realtime_node.config.section import (
    Bytes,
    Contradiction,
    Duration,
    LivingDuration,
    Section,
    format_duration,
)


class SlowClientOptions(Section):
    """What happens to messages for a client that does not take them as fast as they come."""

    policy: Literal["", "queue", "latest", "drop", "disconnect"] = ""
    """`queue`: they wait, in order, up to the bounds below; beyond them the client is closed
    (3008), comes back and recovers. `latest`: only the newest waits, and an older one is not worth
    sending. `drop`: they are skipped. `disconnect`: the client is closed at the first. Empty:
    `queue`, whether there is something to recover from or not. See docs/slow-clients.md."""

    max_messages: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Messages of a channel that may wait for one client (`queue`, `latest`)."""

    max_bytes: Bytes = 262_144
    """What may wait of a channel for one client (`queue`, `latest`); a single larger message
    may."""

    max_age: LivingDuration = timedelta(seconds=5)
    """How long the oldest message may wait (`queue`)."""

    key: Annotated[str, Field(max_length=255)] = ""
    """Tag of a publication that says what it is a value of, e.g. `symbol`: the newest of each is
    kept (`latest`). Publications without it are one value. Empty: the channel is one value."""

    may_lose: bool = False
    """Without history a client that was closed has lost what it did not get; say that this is
    meant (`queue`, `disconnect`)."""

    def contradictions(self) -> Iterable[Contradiction]:
        """What is set has an effect with the policy."""
        for key, policies in (
            ("max_messages", ("queue", "latest")),
            ("max_bytes", ("queue", "latest")),
            ("max_age", ("queue",)),
            ("key", ("latest",)),
            ("may_lose", ("queue", "disconnect")),
        ):
            is_set = getattr(self, key) != type(self).model_fields[key].default
            if is_set and (self.policy or "queue") not in policies:
                needed = " or ".join(policies)
                yield Contradiction(key, f"it needs policy {needed}: leave it out")


class BatchOptions(Section):
    """Which messages share a frame: fewer, larger frames cost less, and come later."""

    interval: Annotated[Duration, Field(le=timedelta(seconds=10))] = timedelta()
    """Least time between two frames of a channel, at most "10s". A message that follows one waits
    for its end. 0: what comes within one pass of the node's loop shares a frame, and nothing
    waits."""

    max_messages: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Messages in a frame; a full one does not wait for the interval's end."""

    max_bytes: Bytes = 65_536
    """Size of a frame; a single larger message has a frame of its own."""


class ChannelOptions(Section):
    """Rules of the channels of one namespace, or of those without one.

    "Client" is a connection with a user, "anonymous" one whose user is empty, "subscriber" any
    connection that is subscribed to the channel.
    """

    history_size: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Publications that a channel keeps. 0: no history, and so no recovery."""

    history_ttl: Duration = timedelta()
    """How long a channel keeps its history after the last publication, in whole seconds. 0: no
    history."""

    history_meta_ttl: Duration = timedelta()
    """How long a channel's position (epoch and offset) is known after its last use, in whole
    seconds; a client away for longer cannot recover. 0: as `channel.history_meta_ttl` says."""

    force_positioning: bool = False
    """Check for every subscriber that its stream has no hole, and let it subscribe anew if it has.
    Needs history."""

    allow_positioning: bool = False
    """Grant positioning to those who ask for it. Access to history grants it too."""

    force_recovery: bool = False
    """Bring every subscriber what it missed while it was away. Needs history."""

    allow_recovery: bool = False
    """Grant recovery to those who ask for it. Access to history grants it too."""

    presence: bool = False
    """Keep a list of who is subscribed. Costs writes to Redis for every subscription."""

    presence_grace: Annotated[Duration, Field(le=timedelta(minutes=30))] = timedelta()
    """How long a client with a session that lost its connection stays present, at most "30m": who
    is back in time neither left nor joined. Needs `presence`, and clients that ask for a
    session."""

    join_leave: bool = False
    """Announce subscribers who come and go, to those who ask for it and have access to presence."""

    force_push_join_leave: bool = False
    """Announce them to every subscriber. Needs `join_leave`."""

    allow_subscribe_for_client: bool = False
    """Clients may subscribe without a subscription token."""

    allow_subscribe_for_anonymous: bool = False
    """Anonymous connections too; needs `allow_subscribe_for_client`."""

    allow_publish_for_client: bool = False
    """Clients may publish."""

    allow_publish_for_subscriber: bool = False
    """Subscribers may publish."""

    allow_publish_for_anonymous: bool = False
    """Anonymous connections too; needs one of the two above."""

    allow_presence_for_client: bool = False
    """Clients may ask who is subscribed."""

    allow_presence_for_subscriber: bool = False
    """Subscribers may ask."""

    allow_presence_for_anonymous: bool = False
    """Anonymous connections too; needs one of the two above."""

    allow_history_for_client: bool = False
    """Clients may read the history."""

    allow_history_for_subscriber: bool = False
    """Subscribers may read it."""

    allow_history_for_anonymous: bool = False
    """Anonymous connections too; needs one of the two above."""

    allow_user_limited_channels: bool = False
    """Let the users named in a channel's name, as in `chat#ann,bob`, and nobody else subscribe to
    it without a token."""

    subscribe_proxy_enabled: bool = False
    """Let the team's backend decide about subscriptions without a token; the keys above do not."""

    subscribe_proxy_name: ProxyName = DEFAULT_PROXY
    """Which of `proxies`; `default` is `channel.proxy.subscribe`."""

    publish_proxy_enabled: bool = False
    """Let the team's backend decide about publications of clients; the keys above do not."""

    publish_proxy_name: ProxyName = DEFAULT_PROXY
    """Which of `proxies`; `default` is `channel.proxy.publish`."""

    sub_refresh_proxy_enabled: bool = False
    """Ask the team's backend whether subscriptions that are about to expire may go on."""

    sub_refresh_proxy_name: ProxyName = DEFAULT_PROXY
    """Which of `proxies`; `default` is `channel.proxy.sub_refresh`."""

    slow_client: SlowClientOptions = SlowClientOptions()

    batch: BatchOptions = BatchOptions()

    stagger: Duration = timedelta()
    """Spread a frame over the subscribers of a large channel within this time, in cohorts, instead
    of one burst. At most `batch.interval`."""

    def proxy_of(self, event: str) -> str:
        """The name of the proxy of an event: `subscribe`, `publish`, `sub_refresh`; "": none."""
        enabled: bool = getattr(self, f"{event}_proxy_enabled")
        name: str = getattr(self, f"{event}_proxy_name")
        return name if enabled else ""

    def contradictions(self) -> Iterable[Contradiction]:
        """History is complete or absent, and what builds on it, or on another key, has it."""
        yield from self._contradictions_of_flow()
        yield from self._contradictions_of_presence()
        if self.history_size and not self.history_ttl:
            yield Contradiction("history_ttl", 'history needs it: set e.g. "300s"')
        if self.history_ttl and not self.history_size:
            yield Contradiction("history_size", "history needs it: set e.g. 100")
        for key in ("history_ttl", "history_meta_ttl"):
            if getattr(self, key) % timedelta(seconds=1):
                yield Contradiction(key, "it is counted in whole seconds")
        if self.history_meta_ttl and self.history_meta_ttl < self.history_ttl:
            yield Contradiction("history_meta_ttl", "it cannot be shorter than history_ttl")
        if not self.history_size and not self.history_ttl:
            for key in ("force_recovery", "allow_recovery", "force_positioning"):
                if getattr(self, key):
                    yield Contradiction(key, "it needs history: set history_size and history_ttl")

    def _contradictions_of_presence(self) -> Iterable[Contradiction]:
        if self.presence_grace and not self.presence:
            yield Contradiction("presence_grace", "it needs presence")
        if self.force_push_join_leave and not self.join_leave:
            yield Contradiction("force_push_join_leave", "it needs join_leave")

    def _contradictions_of_flow(self) -> Iterable[Contradiction]:
        slow = self.slow_client
        recovers = slow.policy in ("queue", "disconnect")
        if recovers and not self.history_size and not slow.may_lose:
            problem = (
                f"with {slow.policy}, a client that is closed as too slow recovers from the"
                " history, and there is none: set history_size and history_ttl, or may_lose: true"
                " beside policy, or choose latest or drop"
            )
            yield Contradiction("slow_client.policy", problem)
        if slow.may_lose and self.history_size:
            problem = "it is not needed: what a closed client missed is in the history"
            yield Contradiction("slow_client.may_lose", problem)
        if slow.policy == "drop":
            for key in ("force_recovery", "allow_recovery"):
                if getattr(self, key):
                    problem = "slow_client.policy is drop: what was dropped is not recovered"
                    yield Contradiction(key, problem)
        if self.stagger > self.batch.interval:
            problem = (
                f"it is longer than batch.interval, {format_duration(self.batch.interval)}: the"
                " next frame would be due before the last subscribers have this one"
            )
            yield Contradiction("stagger", problem)
