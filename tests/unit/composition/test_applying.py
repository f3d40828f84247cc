"""Other settings in the parts of a node, none of which runs."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest

from realtime_node import certificates
from realtime_node.composition import applying
from realtime_node.composition.applying import Applier
from realtime_node.composition.parts import Parts, build_parts
from realtime_node.config import Settings
from realtime_node.delivery.outbound import Outbound
from realtime_node.errors import ConfigError
from realtime_node.server.tokens import make_connection_token
from realtime_node.session.session import MAX_WAITING_FOR_API, Session
from realtime_node.session.subscription import Subscription
from tests.support.certificates import write_certificates
from tests.support.failure_counts import counted_failures
from tests.support.fakes import FakeLink, FakeTransport, settle

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_node.session.channels import ChannelRule

OLD: Final[dict[str, Any]] = {
    "http_api": {"key": "old"},
    "client": {"token": {"hmac_secret_key": "o" * 32}},
    "channel": {"namespaces": [{"name": "chat"}]},
}
NEW: Final[dict[str, Any]] = {
    "http_api": {
        "key": "new",
        "insecure": True,
        "body_size_limit": 2_048,
        "history_max_publication_limit": 7,
    },
    "admin": {"key": "new"},
    "client": {
        "token": {"hmac_secret_key": "n" * 32},
        "allowed_origins": ["https://new"],
        "channel_limit": 3,
        "pong_timeout": "7s",
        "stale_close_delay": "6s",
        "command_rate": 5,
        "command_burst": 6,
        "queue_max_size": 1000,
        "queues_max_size": 2000,
        "write_timeout": "3s",
        "api_subscriptions": {"limit": 9},
    },
    "websocket": {
        "message_size_limit": 999,
        "compression": True,
        "compression_level": 4,
        "high_water_mark": 1234,
    },
    "admission": {
        "max_connections": 7,
        "connects_per_second": 30,
        "burst": 40,
        "per_ip_connects_per_second": 2,
        "trusted_proxies": ["10.0.0.0/8"],
        "shed_loop_lag": "100ms",
    },
    "channel": {"namespaces": [{"name": "news", "batch": {"interval": "1s"}}]},
    "drain": {"propagation": "9s"},
    "reconnect_budget": {"connections_per_second_per_node": 11},
}
PROXIED: Final[dict[str, Any]] = {
    **OLD,
    "channel": {
        "namespaces": [{"name": "chat", "subscribe_proxy_enabled": True}],
        "proxy": {"subscribe": {"endpoint": "http://backend/subscribe"}},
    },
}


def settings(values: dict[str, Any]) -> Settings:
    """Settings as a file has them."""
    return Settings.model_validate(values)


def seen(parts: Parts) -> dict[str, Any]:
    """Everything that parts go by."""
    services = parts.services
    return {
        "client": services.settings,
        "limits": services.limits,
        "rate": services.rate,
        "channels": parts.delivery.rules.settings,
        "compression": parts.delivery.framer.compression,
        "slow": parts.delivery.slow_clients.limits,
        "slow budget": parts.delivery.slow_clients.budget.limit_bytes,
        "terms": parts.websockets.terms,
        "door": parts.door._rules,
        "propagation": parts.drainer.propagation_s,
        "budget": parts.engine.reconnects.known().per_node,
        "api": (parts.api.cluster.client, parts.api.insecure),
        "api limits": (parts.api.cluster.history_limit, parts.api.max_body_bytes),
        "api key": parts.api.key.is_given_by("new"),
        "admin key": parts.admin.key.is_given_by("new"),
    }


def subscribed_session(parts: Parts, *, num_channels: int) -> tuple[Session, FakeLink]:
    """A session with subscriptions in the namespace `chat`, and what is under it."""
    link, slow_clients = FakeLink(), parts.delivery.slow_clients
    outbound = Outbound(
        FakeTransport(), slow_clients, on_pressure=lambda: None, on_slow=lambda _reason: None
    )
    session = Session(parts.services, link, outbound)
    for number in range(num_channels):
        session.hold_subscription(f"chat:{number}", Subscription())
    return session, link


async def test_changed_parts_go_by_what_new_ones_would() -> None:
    """A node that was given settings is one that was started with them."""
    old, new = settings(OLD), settings(NEW)
    parts = build_parts(old)
    before = seen(parts)
    await Applier(parts).apply(old, new)
    wanted = seen(build_parts(new))
    assert seen(parts) == wanted
    assert [name for name in before if before[name] == wanted[name]] == []
    now = parts.services.wall_clock()
    token = make_connection_token("n" * 32, "ann", expires_at=int(now) + 60)
    assert parts.services.tokens.verify_connection_token(token, now=now).user == "ann"


async def test_unchanged_proxies_stay() -> None:
    """What they keep, and what they know of their backend, is not thrown away for other keys."""
    old = settings(PROXIED)
    new = settings({**PROXIED, "http_api": {"key": "new"}})
    parts = build_parts(old)
    before = parts.services.proxies
    await Applier(parts).apply(old, new)
    assert parts.services.proxies is before


async def test_certificates_of_new_proxies_are_read_once_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop waits for no disk; the proxies are built of what was checked."""
    tls = {"enabled": True, "server_ca_pem": str(write_certificates(tmp_path))}
    proxy = {"endpoint": "https://backend/subscribe", "http": {"tls": tls}}
    channel = {**PROXIED["channel"], "proxy": {"subscribe": proxy}}
    old, new = settings(OLD), settings({**OLD, "channel": channel})
    parts = build_parts(old)
    threads: list[threading.Thread] = []

    def read(*given: str) -> str:
        threads.append(threading.current_thread())
        return certificates_read(*given)

    certificates_read = certificates._read
    monkeypatch.setattr(certificates, "_read", read)
    applier = Applier(parts)
    await applier.apply(old, new)
    assert len(threads) == len(["server_ca_pem", "cert_pem", "key_pem"])
    assert threading.main_thread() not in threads
    await applier.close()
    await parts.services.proxies.close()


async def test_changed_proxies_finish_what_they_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are replaced at once, and closed later: with the next change, or with the node."""
    closed: list[object] = []
    parts = build_parts(settings(OLD))
    applier = Applier(parts)
    generations = [settings(OLD), settings(PROXIED), settings(OLD)]
    replaced: list[object] = []
    monkeypatch.setattr(applying, "LONGEST_ANSWER_S", 3600)
    for old, new in pairwise(generations):
        proxies = parts.services.proxies
        close = proxies.close

        async def closing(proxies: object = proxies, close: Any = close) -> None:
            closed.append(proxies)
            await close()

        monkeypatch.setattr(proxies, "close", closing)
        replaced.append(proxies)
        await applier.apply(old, new)
        assert parts.services.proxies is not proxies
        assert proxies not in closed
    assert closed == replaced[:1]
    await applier.close()
    assert closed == replaced


async def test_what_clients_hold_of_replaced_proxies_lives_on() -> None:
    """A timeout is another proxy, and the same question."""
    proxy = {"endpoint": "http://backend/subscribe", "cache_ttl": "60s"}
    channel = {**PROXIED["channel"], "proxy": {"subscribe": proxy}}
    changed = {**channel, "proxy": {"subscribe": {**proxy, "timeout": "9s"}}}
    old, new = settings({**OLD, "channel": channel}), settings({**OLD, "channel": changed})
    parts = build_parts(old)
    before = parts.services.proxies
    applier = Applier(parts)
    await applier.apply(old, new)
    after = parts.services.proxies
    assert after is not before
    kept_before, kept_after = (each._subscribe["default"].keeper for each in (before, after))
    assert kept_before is not None
    assert kept_after is not None
    assert kept_after is not kept_before
    assert kept_after.leases is kept_before.leases
    await applier.close()
    await after.close()


async def test_a_client_with_many_subscriptions_that_go_stays_connected() -> None:
    """However many end, they are one piece of its work: no client is closed by a reload."""
    old, new = settings(OLD), settings({**OLD, "channel": {"namespaces": [{"name": "news"}]}})
    parts = build_parts(old)
    session, link = subscribed_session(parts, num_channels=3 * MAX_WAITING_FOR_API)
    await Applier(parts).apply(old, new)
    await settle()
    assert session.subscriptions == {}
    assert parts.services.registry.num_subscriptions == 0
    assert link.closes == []
    session.ended()


async def test_the_loop_goes_on_while_sessions_are_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many clients and subscriptions there are, a pass looks at a bounded number."""
    monkeypatch.setattr(applying, "STEP", 20)
    old, new = settings(OLD), settings(NEW)
    parts = build_parts(old)
    sessions = [subscribed_session(parts, num_channels=10)[0] for _ in range(50)]
    looked_at: Counter[int] = Counter()
    passes = 0
    find = parts.delivery.rules.find

    def finding(channel: str) -> ChannelRule | None:
        looked_at[passes] += 1
        return find(channel)

    monkeypatch.setattr(parts.delivery.rules, "find", finding)
    applying_it = asyncio.ensure_future(Applier(parts).apply(old, new))
    while not applying_it.done():
        passes += 1
        await asyncio.sleep(0)
    await applying_it
    assert looked_at.total() == 500
    assert max(looked_at.values()) <= applying.STEP + 10
    for session in sessions:
        session.ended()


async def test_replaced_proxies_are_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that an answer may take nobody waits for them."""
    monkeypatch.setattr(applying, "LONGEST_ANSWER_S", 0)
    parts = build_parts(settings(OLD))
    applier = Applier(parts)
    await applier.apply(settings(OLD), settings(PROXIED))
    await settle()
    assert applier._retired == []
    await parts.services.proxies.close()


async def test_proxies_that_cannot_be_closed_stop_no_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What closing raises is counted, and the settings count all the same."""

    async def fails() -> None:
        raise ValueError("a bug")

    parts = build_parts(settings(OLD))
    applier = Applier(parts)
    monkeypatch.setattr(parts.services.proxies, "close", fails)
    with counted_failures() as counts:
        for old, new in pairwise([settings(OLD), settings(PROXIED), settings(OLD)]):
            await applier.apply(old, new)
        await applier.close()
    assert applier._retired == []
    assert counts.errors == {"retired-proxies": 1}
    await parts.services.proxies.close()


async def test_what_cannot_be_built_changes_nothing(tmp_path: Path) -> None:
    """A proxy's certificate that is not there refuses the limits that came with it."""
    old = settings(OLD)
    values = {**NEW, "channel": {**PROXIED["channel"], "proxy": {"subscribe": {
        "endpoint": "https://backend/subscribe",
        "http": {"tls": {"enabled": True, "server_ca_pem": str(tmp_path / "none.pem")}},
    }}}}  # fmt: skip
    parts = build_parts(old)
    before = seen(parts)
    with pytest.raises(ConfigError, match=r"none\.pem"):
        await Applier(parts).apply(old, settings(values))
    assert seen(parts) == before
