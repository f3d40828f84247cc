"""What a person sees once the cluster is up: where everything is, and what to try first."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from realtime_node.dev.plan import Secret, Secrets


class NodeFacts(NamedTuple):
    """One node that is up."""

    name: str
    node_id: str
    pid: int
    internal_url: str


class ClusterFacts(NamedTuple):
    """Everything there is to tell."""

    nodes: Sequence[NodeFacts]
    public_urls: Sequence[str]
    """One for all nodes, or one for each."""
    websocket_path: str
    engine: str
    started_in_s: float
    token: str
    user: str
    secrets: Secrets
    channel: str


def banner(facts: ClusterFacts) -> str:
    """Lay the facts out for a terminal."""
    count = len(facts.nodes)
    title = f"{count} node{'s' if count > 1 else ''} on {facts.engine}"
    sections = [
        [f"Realtime Cluster is up: {title}, started in {facts.started_in_s:.1f} s"],
        [*_addresses(facts), *_credentials(facts)],
        _nodes(facts.nodes),
        ["Say something in the chat from another terminal:", "", f"  {_curl(facts)}"],
        list(_hints(facts)),
    ]
    return "\n" + "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _addresses(facts: ClusterFacts) -> Iterator[str]:
    websockets = [url.replace("http", "ws", 1) + facts.websocket_path for url in facts.public_urls]
    yield from _rows("Chat page", facts.public_urls)
    yield from _rows("WebSocket", websockets)


def _credentials(facts: ClusterFacts) -> Iterator[str]:
    yield from _rows("Token", [facts.token])
    yield from _rows("", [f'user "{facts.user}", valid for 24 hours (HS256 with the secret)'])
    yield from _rows("Secret", [_shown(facts.secrets.hmac_secret_key)])
    yield from _rows("API key", [_shown(facts.secrets.api_key)])


def _shown(secret: Secret) -> str:
    return "as in your settings" if secret.is_given else secret.value


def _nodes(nodes: Sequence[NodeFacts]) -> list[str]:
    pid_width = max(len(str(node.pid)) for node in nodes)
    return [
        f"  {node.name:<11}id {node.node_id}   pid {node.pid:<{pid_width}}   "
        f"{node.internal_url}/status"
        for node in nodes
    ]


def _curl(facts: ClusterFacts) -> str:
    key = facts.secrets.api_key
    header = '"X-API-Key: $API_KEY"' if key.is_given else f"'X-API-Key: {key.value}'"
    body = json.dumps({"channel": facts.channel, "data": {"text": "Hello from curl"}})
    url = f"{facts.nodes[0].internal_url}/api/publish"
    return f"curl -H {header} -d {shlex.quote(body)} {url}"


def _hints(facts: ClusterFacts) -> Iterator[str]:
    yield "Open the chat page in two tabs: each is a client of its own."
    if len(facts.nodes) > 1:
        yield (
            f"Kill a node (kill -9 {facts.nodes[0].pid}): its tabs come back"
            " and have missed nothing."
        )
    yield "Ctrl-C ends everything; nothing is kept."


def _rows(title: str, values: Iterable[str]) -> Iterator[str]:
    """Lay values out below each other, the title beside the first."""
    for value in values:
        yield f"  {title:<11}{value}"
        title = ""
