"""Clients that publish."""

from __future__ import annotations

from tests.contract.wire.conversation import Send
from tests.contract.wire.scripts.building import (
    command,
    connect,
    insecure,
    probe,
    secured,
    send,
    subscribe,
)

CONVERSATIONS = [
    secured(
        "publish",
        "A client that may publish hears its own publication before the reply.",
        connect("a", user="publish"),
        connect("b", user="publish-b"),
        subscribe("a", 2, "open:publish"),
        subscribe("b", 2, "open:publish"),
        send("a", 3, "publish", channel="open:publish", data={"text": "hi"}),
    ),
    secured(
        "publish-pipelined",
        "Several publications in one frame arrive in order, and so do their replies.",
        connect("a", user="publish-pipelined"),
        subscribe("a", 2, "open:publish-pipelined"),
        Send(
            on="a",
            commands=[
                command(3 + n, "publish", channel="open:publish-pipelined", data={"n": n})
                for n in range(3)
            ],
            interleaved=True,
        ),
    ),
    secured(
        "publish-not-subscribed",
        "The permission for clients needs no subscription.",
        connect("a", user="publish-not-subscribed"),
        connect("b", user="publish-not-subscribed-b"),
        subscribe("b", 2, "open:publish-not-subscribed"),
        send("a", 2, "publish", channel="open:publish-not-subscribed", data=1),
    ),
    secured(
        "publish-for-subscriber",
        "The permission for subscribers needs one.",
        connect("a", user="publish-for-subscriber"),
        send("a", 2, "publish", channel="history:for-subscriber", data=1),
        subscribe("a", 3, "history:for-subscriber"),
        send("a", 4, "publish", channel="history:for-subscriber", data=2),
    ),
    secured(
        "publish-history",
        "A publication in a channel with history has its offset; one without recovery too.",
        connect("a", user="publish-history"),
        subscribe("a", 2, "history:publish"),
        send("a", 3, "publish", channel="history:publish", data={"n": 1}),
        send("a", 4, "publish", channel="history:publish", data={"n": 2}),
    ),
    secured(
        "publish-no-permission",
        "A client that may not publish gets error 103, subscribed or not.",
        connect("a", user="publish-no-permission"),
        send("a", 2, "publish", channel="read:no-permission", data=1),
        subscribe("a", 3, "read:no-permission"),
        send("a", 4, "publish", channel="read:no-permission", data=1),
    ),
    insecure(
        "publish-insecure",
        "Insecure mode lets everybody publish; the publication tells who.",
        connect("a"),
        subscribe("a", 2, "read:insecure"),
        send("a", 3, "publish", channel="read:insecure", data={"text": "hi"}),
    ),
    secured(
        "publish-unknown-namespace",
        "Publishing into an unknown namespace is error 102.",
        connect("a", user="publish-unknown-namespace"),
        send("a", 2, "publish", channel="nowhere:publish", data=1),
    ),
    secured(
        "publish-no-data",
        "Publishing nothing is error 107; null is something.",
        connect("a", user="publish-no-data"),
        subscribe("a", 2, "open:no-data"),
        send("a", 3, "publish", channel="open:no-data"),
        send("a", 4, "publish", channel="open:no-data", data=None),
        probe("a", 5),
    ),
    secured(
        "publish-no-channel",
        "Publishing nowhere closes the connection.",
        connect("a", user="publish-no-channel"),
        send("a", 2, "publish", data=1),
    ),
]
