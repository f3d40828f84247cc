"""The rules of every channel, resolved once from the settings, and anew when these change.

A channel's namespace is found for every command, so what follows from its options (stream bounds
in the backplane's units, rules of its flow) is computed once per namespace, not when a message
comes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from realtime_node.cluster.backplane import StreamOptions
from realtime_node.config import ChannelOptions, ChannelSettings
from realtime_node.delivery.flow import BatchRule, Flow, Policy, SlowRule
from realtime_node.errors import ReplyError
from realtime_node.protocol import codes


class ChannelRule(NamedTuple):
    """What holds for all channels of one namespace."""

    options: ChannelOptions
    stream: StreamOptions
    flow: Flow


class ChannelRules:
    """Finds the rule of a channel."""

    def __init__(self, settings: ChannelSettings) -> None:
        """Take the rules of `settings`."""
        self.settings = settings
        self._rules: dict[int, ChannelRule] = {}

    def change(self, settings: ChannelSettings) -> None:
        """Take the rules of other settings: they count for whoever asks from now on."""
        self.settings = settings
        self._rules = {}

    def rule(self, channel: str) -> ChannelRule:
        """Return the rule of a channel.

        Raises `ReplyError`: 107 for an empty or too long name, 102 for an unknown namespace.
        """
        if not channel or len(channel) > self.settings.max_length:
            raise ReplyError(*codes.BAD_COMMAND)
        rule = self.find(channel)
        if rule is None:
            raise ReplyError(*codes.UNKNOWN_CHANNEL)
        return rule

    def find(self, channel: str) -> ChannelRule | None:
        """Return the rule of a channel that was subscribed to; None if its namespace is gone."""
        options = self.settings.options_for(channel)
        if options is None:
            return None
        # One object per namespace, which lives as long as the settings: its id is its key, since
        # hashing the options of a namespace would cost more than the rest of the look-up.
        rule = self._rules.get(id(options))
        if rule is None:
            rule = self._rules[id(options)] = ChannelRule(
                options, _stream_options(options), _flow(options)
            )
        return rule

    def flow(self, channel: str) -> Flow:
        """Return how a channel's messages flow; the channel has a rule."""
        return self.rule(channel).flow


def _stream_options(options: ChannelOptions) -> StreamOptions:
    return StreamOptions(
        history_size=options.history_size,
        history_ttl_ms=_milliseconds(options.history_ttl),
        meta_ttl_ms=_milliseconds(options.history_meta_ttl),
    )


def _flow(options: ChannelOptions) -> Flow:
    slow, batch = options.slow_client, options.batch
    return Flow(
        slow=SlowRule(
            policy=Policy(slow.policy or Policy.QUEUE),
            max_messages=slow.max_messages,
            max_bytes=slow.max_bytes,
            max_age_s=slow.max_age.total_seconds(),
            key=slow.key,
        ),
        batch=BatchRule(
            interval_s=batch.interval.total_seconds(),
            max_messages=batch.max_messages,
            max_bytes=batch.max_bytes,
        ),
        stagger_s=options.stagger.total_seconds(),
    )


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
