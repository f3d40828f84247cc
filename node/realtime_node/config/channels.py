"""What channels do, by namespace: the part of a channel's name before the first colon.

`ChannelSettings.options_for` is asked for every subscription and publication, so it is one
partition of the name and one look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from realtime_node.config.proxies import (
    DEFAULT_PROXY,
    ChannelProxies,
    ProxyName,
    missing_endpoint,
)
from realtime_node.config.section import (
    Bytes,
    Contradiction,
    Duration,
    Form,
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


NamespaceName = Annotated[
    str,
    Field(pattern=r"^[-a-zA-Z0-9_.]{2,}$"),
    Form("two or more letters, digits, hyphens, underscores or dots"),
]


class ChannelNamespace(ChannelOptions):
    """Rules of the channels whose names begin with this namespace's name and a colon."""

    name: NamespaceName
    """What the names of its channels begin with."""


class ChannelSettings(Section):
    """The names of channels and what channels do."""

    max_length: Annotated[int, Field(ge=1, le=65535)] = 255
    """Characters that a channel's name may have."""

    private_prefix: str = "$"
    """A channel whose name begins so can only be subscribed with a token, whatever its namespace
    allows. Empty: no channel is private by its name."""

    namespace_boundary: str = ":"
    """Ends the namespace within a channel's name: `chat:room` is in namespace `chat`. Empty: there
    are no namespaces."""

    user_boundary: str = "#"
    """Begins the users within a channel's name; see `allow_user_limited_channels`. Empty: names do
    not limit users."""

    user_separator: str = ","
    """Stands between users in a channel's name. Empty: a name limits the channel to one user."""

    history_meta_ttl: LivingDuration = timedelta(hours=720)
    """How long a channel's position (epoch and offset) is known after its last use, in whole
    seconds. A month by default: it costs little, and a client away for longer cannot recover."""

    proxy: ChannelProxies = ChannelProxies()

    without_namespace: ChannelOptions = ChannelOptions()

    namespaces: Annotated[tuple[ChannelNamespace, ...], Field(strict=False)] = ()
    """The namespaces, in any order. A channel of any other namespace is unknown (error 102)."""

    def contradictions(self) -> Iterable[Contradiction]:
        """Namespaces can be told apart, and positions outlive every history."""
        if self.history_meta_ttl % timedelta(seconds=1):
            yield Contradiction("history_meta_ttl", "it is counted in whole seconds")
        if self.namespaces and not self.namespace_boundary:
            yield Contradiction("namespace_boundary", "it cannot be empty: there are namespaces")
        names = Counter(namespace.name for namespace in self.namespaces)
        for index, namespace in enumerate(self.namespaces):
            place = f"namespaces[{index}]"
            if names[namespace.name] > 1:
                yield Contradiction(f"{place}.name", "another namespace has this name")
            if self.namespace_boundary and self.namespace_boundary in namespace.name:
                yield Contradiction(f"{place}.name", "it contains channel.namespace_boundary")
        yield from self._contradictions_of_proxies()
        for place, options in self.places:
            if not options.history_meta_ttl and options.history_ttl > self.history_meta_ttl:
                known_for = format_duration(self.history_meta_ttl)
                problem = f"it is longer than channel.history_meta_ttl, {known_for}"
                yield Contradiction(f"{place}.history_ttl", problem)

    @property
    def has_presence_grace(self) -> bool:
        """Whether clients may stay present somewhere while they are away."""
        return any(options.presence_grace for _, options in self.places)

    def _contradictions_of_proxies(self) -> Iterable[Contradiction]:
        for event in ("subscribe", "publish", "sub_refresh"):
            if any(options.proxy_of(event) == DEFAULT_PROXY for _, options in self.places):
                used = getattr(self.proxy, event)
                needed_by = f"a namespace has {event}_proxy_enabled"
                yield from missing_endpoint(used, f"proxy.{event}.", needed_by)

    @property
    def places(self) -> Iterable[tuple[str, ChannelOptions]]:
        """All options with their place."""
        yield "without_namespace", self.without_namespace
        for index, namespace in enumerate(self.namespaces):
            yield f"namespaces[{index}]", namespace

    @cached_property
    def _options(self) -> Mapping[str, ChannelOptions]:
        """Options by namespace, "" for the channels without one; inherited values filled in."""
        everywhere = {"history_meta_ttl": self.history_meta_ttl}
        by_name = {"": self.without_namespace} | {each.name: each for each in self.namespaces}
        return {
            name: options if options.history_meta_ttl else options.model_copy(update=everywhere)
            for name, options in by_name.items()
        }

    def options_for(self, channel: str) -> ChannelOptions | None:
        """The rules of a channel, `history_meta_ttl` never 0; None if its namespace is unknown.

        The private prefix is no part of the namespace. Names that are empty or too long are the
        caller's to refuse.
        """
        if not self.namespace_boundary:
            return self._options[""]
        name, boundary, _ = channel.partition(self.namespace_boundary)
        if not boundary:
            return self._options[""]
        return self._options.get(name.removeprefix(self.private_prefix))

    def is_private(self, channel: str) -> bool:
        """Whether a channel can only be subscribed with a token."""
        return bool(self.private_prefix) and channel.startswith(self.private_prefix)

    def is_user_limited(self, channel: str) -> bool:
        """Whether a channel's name limits its users, where its options let names do so."""
        return bool(self.user_boundary) and self.user_boundary in channel

    def is_for_user(self, channel: str, user: str) -> bool:
        """Whether the name of a user-limited channel names this user; it never names nobody."""
        users = channel.rpartition(self.user_boundary)[2]
        named = users.split(self.user_separator) if self.user_separator else [users]
        return user != "" and user in named
