"""Connections of clients: whose tokens are believed, and how much each connection may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field, SecretStr

from realtime_node.config.origins import Origins
from realtime_node.config.proxies import ClientProxies
from realtime_node.config.section import Bytes, Contradiction, LivingDuration, Section
from realtime_node.config.sessions import ApiSubscriptionSettings, SessionSettings

SHORTEST_HMAC_SECRET: Final = 32
"""Bytes: RFC 7518 asks for a key as long as the hash, and a shorter one can be guessed offline."""


class TokenSettings(Section):
    """How JWTs are verified."""

    hmac_secret_key: SecretStr = SecretStr("")
    """Key of HS256, HS384 and HS512, at least 32 bytes. Empty: every token is refused."""

    hmac_previous_secret_key: SecretStr = SecretStr("")
    """The key before it, whose tokens are still accepted while it is set: so keys are changed
    without refusing the tokens that clients hold. See [Changing keys](reloading.md)."""

    audience: str = ""
    """Required in the claim `aud`. Empty: not looked at."""

    issuer: str = ""
    """Required in the claim `iss`. Empty: not looked at."""


class SubscriptionTokenSettings(TokenSettings):
    """How subscription tokens are verified, if otherwise than connection tokens."""

    enabled: bool = False
    """Verify subscription tokens by the settings here. Otherwise `client.token` is for both."""

    def contradictions(self) -> Iterable[Contradiction]:
        """What is set here would have no effect while it is not enabled, and none works without."""
        given = (self.hmac_secret_key, self.hmac_previous_secret_key, self.audience, self.issuer)
        if not self.enabled and any(given):
            problem = "the other settings of client.subscription_token need it: set it to true"
            yield Contradiction("enabled", problem)
        if self.enabled and not self.hmac_secret_key:
            yield Contradiction("hmac_secret_key", "it is needed where enabled is true")


class ClientSettings(Section):
    """Connections of clients: who may connect, and how much each may ask for."""

    insecure: bool = False
    """Let everybody connect, subscribe and publish without tokens and permissions. For development.
    A token that is sent is verified all the same."""

    allowed_origins: Origins = ()
    """Origins whose pages may connect, e.g. `https://example.com`: without a path or a slash at the
    end, with a port only if it is not the scheme's own. `*` stands for any part of one, and alone
    for every origin. Pages of the node's own host, and other programs than browsers,
    always may."""

    proxy: ClientProxies = ClientProxies()

    token: TokenSettings = TokenSettings()

    subscription_token: SubscriptionTokenSettings = SubscriptionTokenSettings()

    allow_anonymous_connect_without_token: bool = False
    """Let clients connect without a token; their user is empty."""

    disallow_anonymous_connection_tokens: bool = False
    """Refuse connection tokens whose user is empty."""

    connect_include_server_time: bool = False
    """Tell clients the node's time when they connect."""

    ping_interval: LivingDuration = timedelta(seconds=25)
    """Time between pings, in whole seconds. Shorter than the 30 s to 60 s after which proxies drop
    idle connections."""

    pong_timeout: LivingDuration = timedelta(seconds=8)
    """How long a client may take to answer a ping before its connection is closed (3012). Shorter
    than `ping_interval`."""

    stale_close_delay: LivingDuration = timedelta(seconds=10)
    """How long a client may take to send its first command; then its connection is closed
    (3502)."""

    channel_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    """Channels that one connection may be subscribed to; further ones are refused (106)."""

    user_connection_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Connections that one user may have on this node; further ones are closed (3504). 0: any
    number. Anonymous connections are not counted."""

    queue_max_size: Bytes = 1_048_576
    """What may wait for one slow client over all its channels, beside its replies; beyond it its
    connection is closed (3008). What may wait of a single channel is in its `slow_client`."""

    queues_max_size: Bytes = 268_435_456
    """Memory of what waits for all slow clients of the node, a message that waits for many counted
    once; beyond it those with most waiting are cut off (1006), and no other."""

    write_timeout: LivingDuration = timedelta(seconds=10)
    """How long a client may take nothing at all of what waits for it; then it is cut off (1006)."""

    command_rate: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    """Commands per second that a connection may send on average; beyond it is closed (3013). 0: any
    number. Pings, fragments, and each 4 KiB of a message, decompressed, count as a command."""

    command_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Commands that it may send at once, when it sent few before."""

    history_max_publication_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """Publications that a client is given by one `history` command, whatever it asks for. It reads
    on from the last one of them. The HTTP API may read a whole history."""

    presence_max_clients: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Clients that `presence` lists, also through the HTTP API. A channel that has more is answered
    with error 106 (limit exceeded); `presence_stats` counts them, whatever their number. 0: no
    limit; then a list of 100000 clients holds a node up for a tenth of a second."""

    recovery_max_publication_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Publications that a client is given when it recovers a channel. One that missed more is told
    that it cannot continue (`recovered: false`), as if the history no longer held them. In a
    channel of newest values (`slow_client`) those are counted."""

    session: SessionSettings = SessionSettings()

    api_subscriptions: ApiSubscriptionSettings = ApiSubscriptionSettings()

    def contradictions(self) -> Iterable[Contradiction]:
        """Pings are told in whole seconds, and one is answered before the next is sent."""
        if self.ping_interval % timedelta(seconds=1):
            yield Contradiction("ping_interval", "it is counted in whole seconds")
        if self.pong_timeout >= self.ping_interval:
            yield Contradiction("pong_timeout", "it has to be shorter than client.ping_interval")

    def secret_warnings(self) -> Iterator[str]:
        """Keys that can be guessed."""
        for place, token in (
            ("token", self.token),
            ("subscription_token", self.subscription_token),
        ):
            for name in ("hmac_secret_key", "hmac_previous_secret_key"):
                secret: SecretStr = getattr(token, name)
                length = len(secret.get_secret_value().encode())
                if 0 < length < SHORTEST_HMAC_SECRET:
                    yield (
                        f"client.{place}.{name} has {length} bytes and can be guessed:"
                        f" give it at least {SHORTEST_HMAC_SECRET} (openssl rand -hex 32)"
                    )
