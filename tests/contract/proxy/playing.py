"""One client's conversation with a server that asks a team's backend: what both were told.

Played against any server that serves the protocol, it gives what the client received and what the
backend was asked, with the ids that differ from run to run taken out.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.integration.proxy.conftest import settings_for
from tests.support.conditions import eventually
from tests.support.node_process import NodeProcess
from tests.support.team import TeamServer
from tests.support.wire_client import WireClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_RANDOM = ("client", "version", "node", "time")
_OF_HTTP = (
    *("accept", "accept-encoding", "connection", "content-length", "host", "user-agent"),
    "x-real-ip",
)


async def _status_500(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def _html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>")


def _in(seconds: int) -> int:
    return int(time.time()) + seconds


def _connect_answer() -> dict[str, Any]:
    sub = {"data": {"d": 1}, "info": {"i": 1}, "override": {"presence": {"value": True}}}
    return {
        "result": {
            "user": "ann",
            "data": {"welcome": 1},
            "info": {"name": "Ann"},
            "expire_at": _in(3),
            "channels": ["x"],
            "subs": {"y": sub},
        }
    }


CONNECT: dict[str, Any] = {
    "data": {"x": 1},
    "name": "js",
    "version": "5",
    "headers": {"Authorization": "Bearer 1", "Cookie": "forged"},
    "subs": {"y": {}},
}

STEPS: list[tuple[str, Any, dict[str, Any]]] = [
    ("/subscribe", {"result": {"data": {"s": 1}, "info": {"c": 1}}}, {"subscribe": "team:a"}),
    ("/publish", {"result": {"data": {"changed": 1}}}, {"publish": "team:a"}),
    ("/publish", {}, {"publish": "team:a"}),
    ("/publish", {"error": {"code": 1001, "message": "no"}}, {"publish": "team:a"}),
    ("/rpc", {"result": {"data": {"year": 2026}}}, {"rpc": "year"}),
    ("/rpc", {"result": {"b64data": "eyJ5IjoxfQ=="}}, {"rpc": ""}),
    ("/rpc", {}, {"rpc": "nothing"}),
    ("/rpc", {}, {"rpc": "unknown:method"}),
    ("/rpc", {"error": {"code": 1000, "message": "custom", "temporary": True}}, {"rpc": "m"}),
    ("/rpc", _status_500, {"rpc": "m"}),
    ("/rpc", _html, {"rpc": "m"}),
    ("/subscribe", {}, {"subscribe": "team:b"}),
    ("/subscribe", {}, {"subscribe": "team:b"}),
    ("/subscribe", {"error": {"code": 403, "message": "no"}}, {"subscribe": "team:c"}),
    ("/subscribe", {"result": {"expire_at": 5}}, {"subscribe": "team:d"}),
    ("/subscribe", {}, {"subscribe": "$team:e"}),
]
"""Path of the backend, its answer, and the client's command with what it is about."""

CONNECTS: list[Any] = [
    {},
    {"result": {"user": ""}},
    {"result": {"user": "a", "expire_at": 5}},
    {"error": {"code": 403, "message": "no"}},
    {"disconnect": {"code": 4501, "reason": "out"}},
    _status_500,
]
"""Answers to a client that only connects."""


async def play(
    directory: Path, command: Sequence[str] = (), ready_path: str = "/readyz"
) -> dict[str, Any]:
    """Return what the client received and what the backend was asked; `command`: another server."""
    async with TeamServer() as team:
        settings = settings_for(team, emulated_headers=["Authorization", "Cookie"])
        settings["channel"]["without_namespace"] = {"presence": True}
        if command:
            settings |= {"health": {"enabled": True}, "log": {"level": "error"}}
        server = NodeProcess(settings, directory, command=command, ready_path=ready_path)
        async with server:
            received = await _converse(server, team)
        questions = [
            {"path": each.path, "body": each.body, "headers": _headers(each.headers)}
            for each in team.questions
        ]
    plain = json.loads(json.dumps({"received": received, "questions": questions}))
    return {"received": _settled(plain["received"]), "questions": _settled(plain["questions"])}


async def _converse(server: NodeProcess, team: TeamServer) -> list[Any]:
    received: list[Any] = []
    team.answers["/connect"] = _connect_answer()
    team.answers["/refresh"] = {"result": {"expire_at": _in(60)}}
    async with await WireClient.open(server.websocket_url, headers={"Cookie": "sid=1"}) as client:
        received.append(await client.call({"id": 1, "connect": CONNECT}))
        for number, (path, answer, command) in enumerate(STEPS, start=2):
            team.answers[path] = answer
            received.append(await client.call({"id": number, **_command(command)}))
        await eventually(lambda: team.asked("/refresh"), what="the refresh")
        await asyncio.sleep(0.1)  # what it changes is not told to anybody
        team.answers["/rpc"] = {"disconnect": {"code": 4500, "reason": "bye"}}
        received.append(await client.call({"id": 99, "rpc": {"method": "m", "data": 1}}))
        received.append(list(client.inbox))
    for answer in CONNECTS:
        team.answers["/connect"] = answer
        async with await WireClient.open(server.websocket_url) as client:
            received.append(await client.call({"id": 1, "connect": {}}))
    return received


def _command(command: dict[str, Any]) -> dict[str, Any]:
    ((method, about),) = command.items()
    key = "method" if method == "rpc" else "channel"
    return {method: {key: about, "data": {"q": 1}}}


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in sorted(headers.items()) if name not in _OF_HTTP}


def _settled(value: Any) -> Any:
    """Take out what differs from run to run, and `node`, which only ours tells in a reply."""
    if isinstance(value, dict):
        return {
            key: "…" if key in _RANDOM and isinstance(inner, str | int) else _settled(inner)
            for key, inner in sorted(value.items())
            if key != "node"
        }
    return [_settled(inner) for inner in value] if isinstance(value, list) else value
