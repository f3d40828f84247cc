"""What a person sees once the cluster is up."""

from __future__ import annotations

import json
import shlex

from realtime_node.dev.banner import ClusterFacts, NodeFacts, banner
from realtime_node.dev.plan import Secret, Secrets

NODES = [
    NodeFacts("node-1", "4fc8b51217116c1b", 4711, "http://127.0.0.1:40001"),
    NodeFacts("node-2", "93198e8d923073e1", 104712, "http://127.0.0.1:40002"),
]
FACTS = ClusterFacts(
    nodes=NODES,
    public_urls=["http://127.0.0.1:8000"],
    websocket_path="/connection/websocket",
    engine="Valkey 9.1.2",
    started_in_s=1.234,
    token="a.b.c",
    user="you",
    secrets=Secrets(Secret("the-secret", is_given=False), Secret("the-key", is_given=False)),
    channel="chat:lobby",
)


def test_it_names_everything_needed_to_use_the_cluster() -> None:
    """Addresses, a token, the secrets that were made up, and the nodes with their pids."""
    text = banner(FACTS)
    for needed in (
        "2 nodes on Valkey 9.1.2, started in 1.2 s",
        "Chat page  http://127.0.0.1:8000\n",
        "WebSocket  ws://127.0.0.1:8000/connection/websocket\n",
        "Token      a.b.c\n",
        "Secret     the-secret\n",
        "API key    the-key\n",
        "pid 4711     http://127.0.0.1:40001/status",
        "pid 104712   http://127.0.0.1:40002/status",
        "Ctrl-C",
    ):
        assert needed in text


def test_the_curl_line_is_a_command_a_shell_understands() -> None:
    """Copied into a shell, it calls `publish` with the key and valid JSON."""
    line = next(line for line in banner(FACTS).splitlines() if line.startswith("  curl"))
    command, *arguments = shlex.split(line)
    assert command == "curl"
    assert arguments[:3:2] == ["-H", "-d"]
    assert arguments[1] == "X-API-Key: the-key"
    assert json.loads(arguments[3])["channel"] == "chat:lobby"
    assert arguments[4] == "http://127.0.0.1:40001/api/publish"


def test_ports_of_their_own_stand_below_each_other() -> None:
    """With a port each, every node's page and WebSocket is shown."""
    urls = ["http://127.0.0.1:8000", "http://127.0.0.1:8001"]
    lines = banner(FACTS._replace(public_urls=urls)).splitlines()
    assert "             http://127.0.0.1:8001" in lines
    assert "             ws://127.0.0.1:8001/connection/websocket" in lines


def test_secrets_that_were_given_are_not_shown() -> None:
    """Somebody's own secrets do not appear in a terminal, nor in its scroll-back."""
    secrets = Secrets(Secret("the-secret", is_given=True), Secret("the-key", is_given=True))
    text = banner(FACTS._replace(secrets=secrets))
    assert "the-secret" not in text
    assert "the-key" not in text
    assert '"X-API-Key: $API_KEY"' in text


def test_one_node_is_spoken_of_as_one() -> None:
    """There is no other node for tabs to come back on."""
    text = banner(FACTS._replace(nodes=NODES[:1]))
    assert "1 node on" in text
    assert "kill -9" not in text
