"""The chat page's routes."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from realtime_node.config import Settings
from realtime_node.dev.demo import PAGE, TOKEN_LIFE_S, demo_channel, demo_routes, demo_token
from realtime_node.server.auth import JwtVerifier

SETTINGS = Settings.model_validate(
    {
        "client": {
            "token": {"hmac_secret_key": "s" * 32, "audience": "app", "issuer": "https://us"}
        },
        "websocket": {"handler_prefix": "/ws"},
    }
)


async def get(path: str) -> web.Response:
    """Ask a route of the demo."""
    plain = path.partition("?")[0]
    handler: Any = next(route.handler for route in demo_routes(SETTINGS) if route.path == plain)
    answer: web.Response = await handler(make_mocked_request("GET", path))
    return answer


@pytest.mark.parametrize("path", PAGE)
async def test_every_file_comes_with_a_policy_that_forbids_all_from_elsewhere(path: str) -> None:
    """Scripts and styles are the page's own files, and nothing is inline."""
    answer = await get(path)
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_the_page_loads_is_served() -> None:
    """Every file that the page or a script names has a route, and no file is left over."""
    page = (await get("/")).text or ""
    named = set(re.findall(r'"(/demo/[\w.]+)"', page))
    for script in [name for name in PAGE if name.endswith(".js")]:
        text = (await get(script)).text or ""
        named |= {f"/demo/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert named == set(PAGE) - {"/"}
    folder = files("realtime_node.dev") / "page"
    assert {each.name for each in folder.iterdir()} == {name for name, _ in PAGE.values()}


async def test_a_session_tells_a_page_how_to_connect_as_the_user_it_names() -> None:
    """The token is one that a node of the same settings accepts, audience and issuer included."""
    answer = await get("/demo/session?user=Zo%C3%AB%20%26%20co")
    session = msgspec.json.decode(answer.text or "")
    assert session["endpoint"] == "/ws"
    assert session["channel"] == "chat:lobby"
    claims = JwtVerifier(SETTINGS.client).verify_connection_token(session["token"], now=0)
    assert claims.user == "Zoë & co"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("query", ["", "?user=", "?user=" + "x" * 41])
async def test_a_name_that_is_missing_or_too_long_is_refused(query: str) -> None:
    """The answer says what a name may be."""
    answer = await get(f"/demo/session{query}")
    assert answer.status == 400
    assert "1 to 40 characters" in (answer.text or "")


def test_a_token_ends_after_a_day() -> None:
    """A token that was left in a terminal's history does not work for ever."""
    token = demo_token(SETTINGS.client.token, "you", now=1_000_000.5)
    claims = JwtVerifier(SETTINGS.client).verify_connection_token(token, now=1_000_000)
    assert claims.expire_at == 1_000_000 + TOKEN_LIFE_S


@pytest.mark.parametrize(
    ("boundary", "expected"), [(":", "chat:lobby"), ("/", "chat/lobby"), ("", "chat")]
)
def test_the_channel_follows_the_settings_of_names(boundary: str, expected: str) -> None:
    """Where namespaces end otherwise, or there are none, the page's channel is named so."""
    settings = Settings.model_validate({"channel": {"namespace_boundary": boundary}})
    assert demo_channel(settings.channel) == expected
