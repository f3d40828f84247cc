"""The chat page, and the sessions it asks for: routes that a node serves in `dev` alone.

Whoever reaches the page gets a token for the name it gives. That is what a demonstration wants and
what no deployment does, so nothing but `serve --demo` hands these routes to a node.
"""

from __future__ import annotations

import time
from functools import partial
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from aiohttp import web

from realtime_node.config import ChannelSettings, Settings, TokenSettings
from realtime_node.server.tokens import make_connection_token

TOKEN_LIFE_S: Final = 86_400
LONGEST_NAME: Final = 40
"""Characters of a name in the chat."""
NAMESPACE: Final = "chat"
ROOM: Final = "lobby"

HEADERS: Final = MappingProxyType(
    {
        # Nothing from elsewhere, nothing inline: `'self'` covers the WebSocket of this host, too.
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
            " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
)
PAGE: Final = MappingProxyType(
    {
        "/": ("index.html", "text/html"),
        "/demo/chat.js": ("chat.js", "text/javascript"),
        "/demo/connection.js": ("connection.js", "text/javascript"),
        "/demo/style.css": ("style.css", "text/css"),
        "/demo/icon.svg": ("icon.svg", "image/svg+xml"),
    }
)


def demo_routes(settings: Settings) -> list[web.RouteDef]:
    """Return the routes of the page, which chats with a node of these settings."""
    folder = files("realtime_node.dev") / "page"
    routes = [
        web.get(path, partial(_file, text=(folder / name).read_text("utf-8"), content_type=kind))
        for path, (name, kind) in PAGE.items()
    ]
    return [*routes, web.get("/demo/session", partial(_session, settings=settings))]


def demo_channel(settings: ChannelSettings) -> str:
    """Return the channel that the page chats in."""
    boundary = settings.namespace_boundary
    return f"{NAMESPACE}{boundary}{ROOM}" if boundary else NAMESPACE


def demo_token(settings: TokenSettings, user: str, *, now: float) -> str:
    """Sign a connection token that these settings accept, for `TOKEN_LIFE_S` from `now`."""
    claims = {"aud": settings.audience, "iss": settings.issuer}
    return make_connection_token(
        settings.hmac_secret_key.get_secret_value(),
        user,
        expires_at=int(now) + TOKEN_LIFE_S,
        **{name: value for name, value in claims.items() if value},
    )


async def _file(_request: web.Request, *, text: str, content_type: str) -> web.Response:
    return web.Response(text=text, content_type=content_type, charset="utf-8", headers=HEADERS)


async def _session(request: web.Request, *, settings: Settings) -> web.Response:
    """Tell a page how to connect as the user it names: `{endpoint, token, channel}`."""
    user = request.query.get("user", "")
    if not 1 <= len(user) <= LONGEST_NAME:
        return web.Response(status=400, text=f"a name has 1 to {LONGEST_NAME} characters\n")
    return web.json_response(
        {
            "endpoint": settings.websocket.handler_prefix,
            "token": demo_token(settings.client.token, user, now=time.time()),
            "channel": demo_channel(settings.channel),
        },
        headers=HEADERS,
    )
