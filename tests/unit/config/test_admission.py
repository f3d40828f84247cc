"""How clients are let in, as settings say it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import ValidationError

from realtime_node.config import AdmissionSettings


def test_a_node_is_protected_without_surprising_anyone() -> None:
    """By default clients are metered and lag sheds; nothing counts what may be shared by many."""
    settings = AdmissionSettings()
    assert settings.connects_per_second > 0
    assert settings.wait.total_seconds() < 5  # the SDKs give an attempt up after that
    assert settings.shed_loop_lag
    assert settings.max_connections == settings.per_ip_connects_per_second == 0
    assert settings.trusted_proxies == ()


def test_networks_are_read() -> None:
    """A network in CIDR notation, an address as a network of one, of both families."""
    settings = AdmissionSettings.model_validate(
        {"trusted_proxies": ["10.0.0.0/8", " 192.0.2.1", "fd00::/8"]}
    )
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32", "fd00::/8")
    assert settings.trusted_networks[0] == ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"trusted_proxies": ["10.0.0.1/8"]}, "has host bits set"),
        ({"trusted_proxies": ["proxy.example.com"]}, "does not appear to be an IPv4 or IPv6"),
        ({"trusted_proxies": "10.0.0.0/8"}, "a list of texts"),
        ({"trusted_proxies": [10]}, "a list of texts"),
        ({"proxy_header": "X-Client-Ip"}, "Input should be"),
        ({"connects_per_second": 1000, "burst": 99}, "burst: it has to be a tenth"),
        ({"cluster_connects_per_second": 10, "wait": "0"}, "wait: it cannot be 0"),
        ({"retry_after_min": "1500ms"}, "retry_after_min: it is counted in whole seconds"),
        ({"retry_after_max": "1s"}, "retry_after_max: it has to be twice"),
        ({"max_connections": -1}, "greater than or equal to 0"),
        ({"handshake_timeout": "0"}, "greater than"),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any], problem: str) -> None:
    """Wrong forms, and settings that would let in fewer than they say."""
    with pytest.raises(ValidationError, match=problem):
        AdmissionSettings.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"connects_per_second": 1000, "burst": 100},
        {"connects_per_second": 0, "burst": 1},
        {"cluster_connects_per_second": 10, "wait": "1s"},
        {"retry_after_min": "15s"},
        {"shed_loop_lag": "0"},
    ],
)
def test_what_works_is_taken(values: dict[str, Any]) -> None:
    """At the very bounds."""
    AdmissionSettings.model_validate(values)
