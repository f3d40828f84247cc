"""Settings of proxies: what they may hold, what goes together, what is never shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from realtime_node.config import Settings
from realtime_node.config.problems import explain

URL = "http://backend/x"


def _problems(settings: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(settings)
    return [str(problem) for problem in explain(raised.value, settings, {(): "file"})]


def test_a_configuration_of_centrifugo_is_taken() -> None:
    """Every key that its documentation shows for proxies over HTTP means the same here."""
    settings = Settings.model_validate(
        {
            "client": {
                "proxy": {
                    "connect": {
                        "enabled": True,
                        "endpoint": URL,
                        "timeout": "1s",
                        "http_headers": ["Cookie", "X-Forwarded-For", "cookie"],
                        "emulated_headers": ["Authorization"],
                        "binary_encoding": False,
                        "http": {
                            "static_headers": {"X-Custom": "hush"},
                            "tls": {"enabled": False},
                            "status_to_code_transforms": [
                                {
                                    "status_code": 404,
                                    "to_error": {"code": 404, "message": "not found"},
                                },
                                {
                                    "status_code": 403,
                                    "to_disconnect": {"code": 4403, "reason": "no"},
                                },
                            ],
                        },
                    },
                    "refresh": {"enabled": True, "endpoint": URL},
                }
            },
            "channel": {
                "proxy": {"subscribe": {"endpoint": URL}, "publish": {"endpoint": URL}},
                "without_namespace": {"subscribe_proxy_enabled": True},
                "namespaces": [
                    {
                        "name": "chat",
                        "publish_proxy_enabled": True,
                        "sub_refresh_proxy_enabled": True,
                        "sub_refresh_proxy_name": "named",
                    }
                ],
            },
            "rpc": {
                "proxy": {"endpoint": URL},
                "without_namespace": {"proxy_enabled": True},
                "namespaces": [{"name": "ns", "proxy_enabled": True, "proxy_name": "named"}],
            },
            "proxies": [{"name": "named", "endpoint": URL}],
        }
    )
    assert settings.client.proxy.connect.http_headers == ("cookie", "x-forwarded-for")
    assert "hush" not in f"{settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("settings", "key", "problem"),
    [
        (
            {"client": {"proxy": {"connect": {"enabled": True}}}},
            "client.proxy.connect.endpoint",
            "it is enabled: set the backend's URL",
        ),
        (
            {"client": {"proxy": {"refresh": {"enabled": True}}}},
            "client.proxy.refresh.endpoint",
            "it is enabled",
        ),
        (
            {"channel": {"without_namespace": {"publish_proxy_enabled": True}}},
            "channel.proxy.publish.endpoint",
            "a namespace has publish_proxy_enabled",
        ),
        (
            {"rpc": {"without_namespace": {"proxy_enabled": True}}},
            "rpc.proxy.endpoint",
            "proxy_enabled is on",
        ),
        (
            {"channel": {"namespaces": [{"name": "ns", "subscribe_proxy_name": "lost"}]}},
            "channel.namespaces[0].subscribe_proxy_name",
            "no entry of proxies has this name",
        ),
        ({"proxies": [{"name": "p1"}]}, "proxies[0].endpoint", "a proxy needs it"),
        (
            {"proxies": [{"name": "default", "endpoint": URL}]},
            "proxies[0].name",
            "this name is taken",
        ),
        (
            {"proxies": [{"name": "p1", "endpoint": URL}] * 2},
            "proxies[1].name",
            "another proxy has this name",
        ),
        (
            {"rpc": {"namespaces": [{"name": "ns"}, {"name": "ns"}]}},
            "rpc.namespaces[0].name",
            "another namespace has this name",
        ),
        (
            {"rpc": {"proxy": {"endpoint": "grpc://backend:9000"}}},
            "rpc.proxy.endpoint",
            "the backend is called over HTTP",
        ),
        (
            {"rpc": {"proxy": {"endpoint": "http://ann:pw@backend/"}}},
            "rpc.proxy.endpoint",
            "credentials",
        ),
        (
            {"rpc": {"proxy": {"endpoint": URL, "http": {"tls": {"enabled": True}}}}},
            "rpc.proxy.endpoint",
            "it has to begin with https://",
        ),
        (
            {"rpc": {"proxy": {"http_headers": ["Host"]}}},
            "rpc.proxy.http_headers",
            "cannot be passed on",
        ),
        (
            {"rpc": {"proxy": {"http": {"static_headers": {"a b": "c"}}}}},
            "rpc.proxy.http.static_headers",
            "is no name of a header",
        ),
        (
            {"rpc": {"proxy": {"http": {"static_headers": {"a": "b\r\nc: d"}}}}},
            "rpc.proxy.http.static_headers",
            "a header's value is one line",
        ),
        (
            {"rpc": {"proxy": {"http": {"status_to_code_transforms": [{"status_code": 404}]}}}},
            "rpc.proxy.http.status_to_code_transforms[0].status_code",
            "give exactly one",
        ),
        ({"rpc": {"proxy": {"timeout": "0s"}}}, "rpc.proxy.timeout", "above 0"),
        (
            {"client": {"proxy": {"connect": {"cache_ttl": "11m"}}}},
            "client.proxy.connect.cache_ttl",
            "allowed",
        ),
    ],
)
def test_what_does_not_go_together_is_told(
    settings: dict[str, Any], key: str, problem: str
) -> None:
    """The error names the key and what to do."""
    found = _problems(settings)
    assert any(text.startswith(key) and problem in text for text in found), found
    assert not any("pw" in text or "c: d" in text for text in found)
