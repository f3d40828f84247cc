"""The settings that conversations are played with, the same for every server that is compared."""

from __future__ import annotations

from typing import Any

from tests.contract.wire.conversation import API_KEY
from tests.support.tokens import SECRET

INSECURE = "insecure"
SECURED = "secured"
LIMITED = "limited"
IMPATIENT = "impatient"

_SUBSCRIBE = {"allow_subscribe_for_client": True}
_HISTORY = {"history_size": 10, "history_ttl": "300s", "allow_history_for_subscriber": True}

_CHANNEL = {
    "without_namespace": {**_SUBSCRIBE, "allow_publish_for_subscriber": True},
    "namespaces": [
        # What a client may, it may only here; elsewhere no more than the name says.
        {"name": "open", **_SUBSCRIBE, "allow_publish_for_client": True},
        {"name": "read", **_SUBSCRIBE},
        {"name": "token"},
        {"name": "limited", "allow_user_limited_channels": True},
        {"name": "history", **_SUBSCRIBE, **_HISTORY, "allow_publish_for_subscriber": True},
        {"name": "recover", **_SUBSCRIBE, **_HISTORY, "force_recovery": True},
        {"name": "short", **_SUBSCRIBE, **_HISTORY, "force_recovery": True, "history_size": 3},
        {"name": "position", **_SUBSCRIBE, **_HISTORY, "force_positioning": True},
        {"name": "offer", **_SUBSCRIBE, **_HISTORY, "allow_recovery": True},
        {"name": "anonymous", **_SUBSCRIBE, "allow_subscribe_for_anonymous": True},
        {
            "name": "asking",
            **_SUBSCRIBE,
            "presence": True,
            "join_leave": True,
            "allow_presence_for_client": True,
        },
        {"name": "presence", **_SUBSCRIBE, "presence": True, "allow_presence_for_subscriber": True},
        {
            "name": "joins",
            **_SUBSCRIBE,
            "presence": True,
            "join_leave": True,
            "force_push_join_leave": True,
            "allow_presence_for_client": True,
        },
    ],
}

_CLIENT: dict[str, Any] = {
    "allowed_origins": ["https://app.example"],
    "token": {"hmac_secret_key": SECRET},
}

_SETTINGS: dict[str, Any] = {
    "http_api": {"key": API_KEY},
    "channel": _CHANNEL,
    "client": _CLIENT,
    "log": {"level": "error"},
}

_CHANGES: dict[str, dict[str, Any]] = {
    SECURED: {},
    INSECURE: {"client": {**_CLIENT, "insecure": True}},
    LIMITED: {
        "client": {**_CLIENT, "channel_limit": 2, "user_connection_limit": 1},
        "websocket": {"message_size_limit": 1000},
    },
    IMPATIENT: {
        "client": {
            **_CLIENT,
            "insecure": True,
            "ping_interval": "1s",
            "pong_timeout": "300ms",
            "stale_close_delay": "1s",
        },
    },
}


def settings(server: str) -> dict[str, Any]:
    """Return the settings that the name in a conversation stands for."""
    return {**_SETTINGS, **_CHANGES[server]}
