"""What a client may not have more of, and how long a server waits for it."""

from __future__ import annotations

from tests.contract.wire.conversation import Open, Send, Wait
from tests.contract.wire.scripts.building import (
    command,
    connect,
    impatient,
    limited,
    probe,
    send,
    signed,
    subscribe,
)

CONVERSATIONS = [
    limited(
        "limit-channels",
        "One subscription too many is error 106; after an unsubscribe there is room again.",
        connect("a", user="limit-channels"),
        subscribe("a", 2, "open:limit-channels-1"),
        subscribe("a", 3, "open:limit-channels-2"),
        subscribe("a", 4, "open:limit-channels-3"),
        send("a", 5, "unsubscribe", channel="open:limit-channels-1"),
        subscribe("a", 6, "open:limit-channels-3"),
    ),
    limited(
        "limit-channels-server-side",
        "Server-side subscriptions count too.",
        connect(
            "a",
            token=signed(
                sub="limit-channels-server-side",
                channels=[f"open:limit-server-side-{n}" for n in range(3)],
            ),
        ),
    ),
    limited(
        "limit-user-connections",
        "One connection too many of a user is closed for good.",
        connect("a", user="limit-user-connections"),
        connect("b", user="limit-user-connections"),
        probe("a", 2),
    ),
    limited(
        "limit-message-size",
        "A message beyond the limit closes the connection.",
        connect("a", user="limit-message-size"),
        send("a", 2, "publish", channel="open:limit-message-size", data="x" * 900),
        send("a", 3, "publish", channel="open:limit-message-size", data="x" * 1000),
    ),
    impatient(
        "patience-no-pong",
        "A client that does not answer a ping in time is closed, and may come back.",
        connect("a"),
        Wait(on="a", answer_pings=False),
    ),
    impatient(
        "patience-no-connect",
        "A client that does not connect in time is closed for good.",
        Open(on="a"),
        Wait(on="a"),
    ),
    impatient(
        "patience-failed-connect",
        "A client whose connect failed is closed for good when it does nothing more.",
        Send(
            on="a",
            commands=[command(1, "connect", token=signed(-60, sub="patience-failed-connect"))],
        ),
        Wait(on="a"),
    ),
]
