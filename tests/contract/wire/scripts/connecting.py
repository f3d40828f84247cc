"""Opening a connection, proving who one is, and the first frame."""

from __future__ import annotations

from tests.contract.wire.conversation import Open, Send
from tests.contract.wire.scripts.building import (
    command,
    connect,
    insecure,
    probe,
    publish,
    secured,
    send,
    signed,
    subscribe,
)

CONVERSATIONS = [
    insecure(
        "connect-insecure",
        "Without a token, insecure mode lets everybody in.",
        connect("a", name="js", version="1.2.3", data={"hello": 1}),
    ),
    insecure(
        "connect-insecure-bad-token",
        "A token that is presented is verified even in insecure mode.",
        connect("a", token=signed(sub="eve", forged=True)),
    ),
    insecure(
        "connect-insecure-good-token",
        "The user of a token counts in insecure mode too.",
        connect("a", user="connect-insecure-good-token"),
        subscribe("a", 2, "joins:insecure-good-token"),
    ),
    secured(
        "connect-token",
        "A token without expiry: no `expires`, no `ttl`.",
        connect("a", user="connect-token"),
    ),
    secured(
        "connect-token-expiring",
        "A token with expiry: `expires` and the seconds left.",
        connect("a", token=signed(3600, sub="connect-token-expiring")),
    ),
    secured(
        "connect-token-info",
        "The `info` of a token is what others see as `conn_info`.",
        connect("a", token=signed(sub="connect-token-info", info={"name": "Ada"})),
        subscribe("a", 2, "joins:token-info"),
        send("a", 3, "presence", channel="joins:token-info"),
    ),
    secured(
        "connect-token-without-sub",
        "A token without `sub` is valid: its user is anonymous.",
        connect("a", token=signed()),
        subscribe("a", 2, "read:token-without-sub"),
    ),
    secured(
        "connect-token-expired",
        "An expired token is error 109, so that the SDK fetches a new one.",
        connect("a", token=signed(-60, sub="connect-token-expired")),
        connect("a", 2, user="connect-token-expired"),
    ),
    secured(
        "connect-token-expired-pipelined",
        "Commands pipelined behind a failed connect are refused.",
        Send(
            on="a",
            commands=[
                command(1, "connect", token=signed(-60, sub="connect-token-expired-pipelined")),
                command(2, "subscribe", channel="open:expired-pipelined"),
            ],
        ),
    ),
    secured(
        "connect-token-not-yet-valid",
        "A token that is not valid yet is refused.",
        connect("a", token=signed(sub="x", nbf=4_000_000_000)),
    ),
    secured(
        "connect-token-forged",
        "A token signed by somebody else closes the connection for good.",
        connect("a", token=signed(sub="connect-token-forged", forged=True)),
    ),
    secured(
        "connect-token-garbage",
        "What is no token at all closes the connection for good.",
        connect("a", token="not.a.token"),
    ),
    secured(
        "connect-token-missing",
        "Where a token is needed, none closes the connection for good.",
        connect("a"),
    ),
    secured(
        "connect-token-missing-pipelined",
        "Nothing pipelined behind a refused connect is answered.",
        Send(
            on="a",
            commands=[
                command(1, "connect"),
                command(2, "subscribe", channel="open:missing-pipelined"),
            ],
        ),
    ),
    secured(
        "connect-pipelined",
        "Connect and subscribes in one frame are answered in order.",
        Send(
            on="a",
            commands=[
                command(1, "connect", token=signed(sub="connect-pipelined")),
                command(2, "subscribe", channel="open:pipelined"),
                command(3, "subscribe", channel="recover:pipelined"),
                command(4, "subscribe", channel="nowhere:pipelined"),
                command(5, "rpc", method="probe"),
            ],
        ),
        publish("open:pipelined", {"n": 1}),
    ),
    secured(
        "connect-high-id",
        "Command ids go on across reconnects: the first may be any.",
        connect("a", 7, user="connect-high-id"),
        probe("a", 8),
    ),
    secured(
        "connect-origin-allowed",
        "A page of an allowed origin connects.",
        Open(on="a", headers={"Origin": "https://app.example"}),
        connect("a", user="connect-origin-allowed"),
    ),
    secured(
        "connect-origin-refused",
        "A page of another origin is refused before the upgrade.",
        Open(on="a", headers={"Origin": "https://elsewhere.example"}),
    ),
    secured(
        "connect-subprotocol",
        "The JSON subprotocol may be asked for.",
        Open(on="a", subprotocols=["centrifuge-json"]),
        connect("a", user="connect-subprotocol"),
    ),
    secured(
        "connect-refresh",
        "A connection may present a new token before the old one expires.",
        connect("a", token=signed(3600, sub="connect-refresh")),
        send("a", 2, "refresh", token=signed(7200, sub="connect-refresh")),
        send("a", 3, "refresh", token=signed(-60, sub="connect-refresh")),
        send("a", 4, "refresh"),
    ),
    secured(
        "connect-refresh-other-user",
        "A new token for another user closes the connection.",
        connect("a", token=signed(3600, sub="connect-refresh-other-user")),
        send("a", 2, "refresh", token=signed(7200, sub="somebody-else")),
    ),
]
