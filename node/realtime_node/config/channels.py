"""What channels do, by namespace: the part of a channel's name before the first colon.

`ChannelSettings.options_for` is asked for every subscription and publication, so it is one
partition of the name and one look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated

from pydantic import Field

from realtime_node.config.channel_options import ChannelOptions
from realtime_node.config.proxies import (
    DEFAULT_PROXY,
    ChannelProxies,
    missing_endpoint,
)
from realtime_node.config.section import (
    Contradiction,
    Form,
    LivingDuration,
    Section,
    format_duration,
)

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
