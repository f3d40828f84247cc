"""The node's settings: `load_settings` reads them once, and nothing changes them afterwards."""

from __future__ import annotations

from realtime_node.config.admission import AdmissionSettings
from realtime_node.config.channels import ChannelNamespace, ChannelOptions, ChannelSettings
from realtime_node.config.drain import AdminSettings, DrainSettings, ReconnectBudgetSettings
from realtime_node.config.engine import EngineSettings, RedisSettings
from realtime_node.config.loading import load_settings
from realtime_node.config.proxies import ProxySettings, RpcSettings
from realtime_node.config.sessions import ApiSubscriptionSettings, SessionSettings
from realtime_node.config.settings import (
    ClientSettings,
    HttpApiSettings,
    HttpServerSettings,
    LogSettings,
    NodeSettings,
    Settings,
    ShutdownSettings,
    SubscriptionTokenSettings,
    TokenSettings,
    WebSocketSettings,
)

__all__ = [
    "AdminSettings",
    "AdmissionSettings",
    "ApiSubscriptionSettings",
    "ChannelNamespace",
    "ChannelOptions",
    "ChannelSettings",
    "ClientSettings",
    "DrainSettings",
    "EngineSettings",
    "HttpApiSettings",
    "HttpServerSettings",
    "LogSettings",
    "NodeSettings",
    "ProxySettings",
    "ReconnectBudgetSettings",
    "RedisSettings",
    "RpcSettings",
    "SessionSettings",
    "Settings",
    "ShutdownSettings",
    "SubscriptionTokenSettings",
    "TokenSettings",
    "WebSocketSettings",
    "load_settings",
]
