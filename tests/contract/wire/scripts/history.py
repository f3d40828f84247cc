"""Reading a channel's history."""

from __future__ import annotations

from tests.contract.wire.scripts.building import (
    call,
    connect,
    insecure,
    publish,
    secured,
    send,
    subscribe,
)


def _published(channel: str, count: int) -> list:
    return [publish(channel, {"n": n}) for n in range(1, count + 1)]


CONVERSATIONS = [
    secured(
        "history-limits",
        "No limit: the position only; -1: all; n: the first n.",
        connect("a", user="history-limits"),
        subscribe("a", 2, "history:limits"),
        send("a", 3, "history", channel="history:limits"),
        send("a", 4, "history", channel="history:limits", limit=-1),
        *_published("history:limits", 4),
        send("a", 5, "history", channel="history:limits"),
        send("a", 6, "history", channel="history:limits", limit=-1),
        send("a", 7, "history", channel="history:limits", limit=2),
        send("a", 8, "history", channel="history:limits", limit=100),
        send("a", 9, "history", channel="history:limits", limit=-5),
    ),
    secured(
        "history-since",
        "`since` excludes its own offset, also in reverse.",
        connect("a", user="history-since"),
        subscribe("a", 2, "history:since"),
        *_published("history:since", 5),
        send("a", 3, "history", channel="history:since"),
        *[
            send(
                "a",
                4 + n,
                "history",
                channel="history:since",
                since={"offset": offset, "epoch": "<epoch:1>"},
                **how,
            )
            for n, (offset, how) in enumerate(
                [
                    (2, {"limit": -1}),
                    (2, {"limit": 2}),
                    (5, {"limit": -1}),
                    (9, {"limit": -1}),
                    (0, {"limit": -1}),
                    (3, {"limit": 0}),
                    (4, {"limit": -1, "reverse": True}),
                    (4, {"limit": 2, "reverse": True}),
                    (1, {"limit": -1, "reverse": True}),
                    (0, {"limit": -1, "reverse": True}),
                    (9, {"limit": 2, "reverse": True}),
                ]
            )
        ],
    ),
    secured(
        "history-reverse",
        "In reverse the newest comes first.",
        connect("a", user="history-reverse"),
        subscribe("a", 2, "history:reverse"),
        *_published("history:reverse", 3),
        send("a", 3, "history", channel="history:reverse", limit=-1, reverse=True),
        send("a", 4, "history", channel="history:reverse", limit=2, reverse=True),
    ),
    secured(
        "history-wrong-epoch",
        "A position of another epoch is error 112.",
        connect("a", user="history-wrong-epoch"),
        subscribe("a", 2, "history:wrong-epoch"),
        *_published("history:wrong-epoch", 2),
        send(
            "a",
            3,
            "history",
            channel="history:wrong-epoch",
            limit=-1,
            since={"offset": 1, "epoch": "wrong"},
        ),
        send(
            "a",
            4,
            "history",
            channel="history:wrong-epoch",
            limit=-1,
            since={"offset": 1, "epoch": ""},
        ),
        send("a", 5, "history", channel="history:wrong-epoch", limit=-1, since={"offset": 1}),
    ),
    secured(
        "history-trimmed",
        "Of a stream longer than its size, the newest are left.",
        connect("a", user="history-trimmed"),
        subscribe("a", 2, "short:history-trimmed"),
        *_published("short:history-trimmed", 5),
        send("a", 3, "history", channel="short:history-trimmed", limit=-1),
        send(
            "a",
            4,
            "history",
            channel="short:history-trimmed",
            limit=-1,
            since={"offset": 1, "epoch": "<epoch:1>"},
        ),
    ),
    secured(
        "history-no-permission",
        "The permission for subscribers needs a subscription.",
        connect("a", user="history-no-permission"),
        send("a", 2, "history", channel="history:no-permission", limit=-1),
    ),
    secured(
        "history-unavailable",
        "A channel without history has none to read.",
        connect("a", user="history-unavailable"),
        subscribe("a", 2, "open:history-unavailable"),
        send("a", 3, "history", channel="open:history-unavailable", limit=-1),
    ),
    insecure(
        "history-unavailable-insecure",
        "Insecure mode permits the question, but there is no history to answer with.",
        connect("a"),
        subscribe("a", 2, "open:history-unavailable-insecure"),
        send("a", 3, "history", channel="open:history-unavailable-insecure", limit=-1),
    ),
    insecure(
        "history-insecure",
        "Insecure mode lets everybody read, subscribed or not.",
        *_published("history:insecure", 2),
        connect("a"),
        send("a", 2, "history", channel="history:insecure", limit=-1),
    ),
    secured(
        "history-unknown-namespace",
        "The history of an unknown namespace is error 102.",
        connect("a", user="history-unknown-namespace"),
        send("a", 2, "history", channel="nowhere:history", limit=-1),
    ),
    secured(
        "history-no-channel",
        "History of nothing closes the connection.",
        connect("a", user="history-no-channel"),
        send("a", 2, "history", limit=-1),
    ),
    secured(
        "history-client-info",
        "A publication of a client keeps its `info` in the history.",
        connect("a", user="history-client-info"),
        subscribe("a", 2, "history:client-info"),
        send("a", 3, "publish", channel="history:client-info", data={"n": 1}),
        send("a", 4, "history", channel="history:client-info", limit=-1),
        call("history", channel="history:client-info", limit=-1),
    ),
]
