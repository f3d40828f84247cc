"""The node's settings: `load_settings` reads them, and nothing changes what it returned.

A node may be given others while it runs: `reload` tells what that comes to.
"""

from __future__ import annotations

from realtime_node.config.admission import AdmissionSettings
from realtime_node.config.channel_options import ChannelOptions
from realtime_node.config.channels import ChannelNamespace, ChannelSettings
from realtime_node.config.client import ClientSettings, SubscriptionTokenSettings, TokenSettings
from realtime_node.config.drain import AdminSettings, DrainSettings, ReconnectBudgetSettings
from realtime_node.config.engine import EngineSettings, RedisSettings
from realtime_node.config.loading import load_settings
from realtime_node.config.proxies import ProxySettings, RpcSettings
from realtime_node.config.sessions import ApiSubscriptionSettings, SessionSettings
from realtime_node.config.settings import (
    MAX_BODY_SIZE,
    HttpApiSettings,
    HttpServerSettings,
    LogSettings,
    NodeSettings,
    Settings,
    ShutdownSettings,
    WebSocketSettings,
)
from realtime_node.config.source import SettingsSource

__all__ = [
    "MAX_BODY_SIZE",
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
    "SettingsSource",
    "ShutdownSettings",
    "SubscriptionTokenSettings",
    "TokenSettings",
    "WebSocketSettings",
    "load_settings",
]
