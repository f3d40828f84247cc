"""Subscriptions that the backend makes for its users, by token or through the HTTP API."""

from __future__ import annotations

from tests.contract.wire.conversation import Drop
from tests.contract.wire.scripts.building import (
    call,
    connect,
    probe,
    publish,
    secured,
    send,
    signed,
    subscribe,
)

CONVERSATIONS = [
    secured(
        "server-side-channels-claim",
        "The token's `channels` are subscribed with the connect reply.",
        connect(
            "a",
            token=signed(
                sub="server-side-channels-claim",
                channels=["token:channels-claim", "recover:channels-claim"],
            ),
        ),
        publish("token:channels-claim", {"n": 1}),
        publish("recover:channels-claim", {"n": 2}),
        subscribe("a", 2, "token:channels-claim"),
    ),
    secured(
        "server-side-subs-claim",
        "The token's `subs` carry info and data for each channel.",
        connect(
            "a",
            token=signed(
                sub="server-side-subs-claim",
                subs={
                    "joins:subs-claim": {"info": {"role": "host"}, "data": {"topic": "x"}},
                    "token:subs-claim": {},
                },
            ),
        ),
        send("a", 2, "presence", channel="joins:subs-claim"),
        publish("token:subs-claim", {"n": 1}),
    ),
    secured(
        "server-side-unsubscribe",
        "A client may leave a server-side subscription.",
        connect(
            "a",
            token=signed(sub="server-side-unsubscribe", channels=["token:leaving"]),
        ),
        send("a", 2, "unsubscribe", channel="token:leaving"),
        publish("token:leaving", {"n": 1}),
    ),
    secured(
        "server-side-recovery",
        "Positions of server-side subscriptions come with connect, what was missed with the reply.",
        connect(
            "a",
            token=signed(sub="server-side-recovery", channels=["recover:server-side"]),
        ),
        publish("recover:server-side", {"n": 1}),
        Drop(on="a"),
        publish("recover:server-side", {"n": 2}),
        publish("recover:server-side", {"n": 3}),
        connect(
            "back",
            token=signed(sub="server-side-recovery", channels=["recover:server-side"]),
            subs={
                "recover:server-side": {"recover": True, "offset": 1, "epoch": "<epoch:1>"},
                "recover:never-subscribed": {"recover": True, "offset": 1, "epoch": "<epoch:1>"},
            },
        ),
        publish("recover:server-side", {"n": 4}),
    ),
    secured(
        "server-side-unknown-namespace",
        "A server-side subscription to an unknown namespace.",
        connect("a", token=signed(sub="server-side-unknown", channels=["nowhere:server-side"])),
    ),
    secured(
        "server-side-api",
        "The HTTP API subscribes a connected user and ends it again.",
        connect("a", user="server-side-api"),
        call("subscribe", user="server-side-api", channel="token:by-api"),
        publish("token:by-api", {"n": 1}),
        call("subscribe", user="server-side-api", channel="token:by-api"),
        call("unsubscribe", user="server-side-api", channel="token:by-api"),
        publish("token:by-api", {"n": 2}),
    ),
    secured(
        "server-side-api-data",
        "A subscription made through the HTTP API carries info and data, with a position.",
        connect("a", user="server-side-api-data"),
        publish("recover:by-api", {"n": 1}),
        call(
            "subscribe",
            user="server-side-api-data",
            channel="recover:by-api",
            data={"topic": "x"},
        ),
        publish("recover:by-api", {"n": 2}),
        call(
            "subscribe",
            user="server-side-api-data",
            channel="joins:by-api",
            info={"role": "host"},
        ),
    ),
    secured(
        "server-side-api-recover-since",
        "A subscription made through the HTTP API may start in the past.",
        connect("a", user="server-side-api-recover-since"),
        publish("recover:since-by-api", {"n": 1}),
        publish("recover:since-by-api", {"n": 2}),
        call(
            "subscribe",
            user="server-side-api-recover-since",
            channel="recover:since-by-api",
            recover_since={"offset": 1, "epoch": "<epoch:1>"},
        ),
        publish("recover:since-by-api", {"n": 3}),
    ),
    secured(
        "server-side-api-one-client",
        "A call may be for one of a user's connections.",
        connect("a", user="server-side-api-one-client"),
        connect("b", user="server-side-api-one-client"),
        call(
            "subscribe",
            user="server-side-api-one-client",
            client="<client:a>",
            channel="token:one-client",
        ),
        publish("token:one-client", {"n": 1}),
        call(
            "unsubscribe",
            user="server-side-api-one-client",
            client="<client:b>",
            channel="token:one-client",
        ),
        publish("token:one-client", {"n": 2}),
        call("disconnect", user="server-side-api-one-client", client="<client:a>"),
        probe("b", 2),
    ),
    secured(
        "server-side-api-unsubscribe-client-side",
        "The HTTP API ends a client's own subscription: push with code 2000.",
        connect("a", user="server-side-api-client-side"),
        subscribe("a", 2, "open:ended-by-api"),
        call("unsubscribe", user="server-side-api-client-side", channel="open:ended-by-api"),
        publish("open:ended-by-api", {"n": 1}),
    ),
    secured(
        "server-side-api-unsubscribe-all",
        "An unsubscribe without a channel.",
        connect("a", user="server-side-api-unsubscribe-all"),
        subscribe("a", 2, "open:unsubscribe-all-1"),
        subscribe("a", 3, "open:unsubscribe-all-2"),
        call("unsubscribe", user="server-side-api-unsubscribe-all", channel=""),
    ),
    secured(
        "server-side-api-disconnect",
        "Disconnect by the HTTP API closes all connections of a user, for good.",
        connect("a", user="server-side-api-disconnect"),
        connect("b", user="server-side-api-disconnect"),
        connect("c", user="server-side-api-disconnect-not"),
        call("disconnect", user="server-side-api-disconnect"),
        probe("c", 2),
    ),
    secured(
        "server-side-api-disconnect-code",
        "Disconnect with a code and a reason of one's own.",
        connect("a", user="server-side-api-disconnect-code"),
        call(
            "disconnect",
            user="server-side-api-disconnect-code",
            disconnect={"code": 4100, "reason": "moved"},
        ),
    ),
    secured(
        "server-side-api-disconnect-whitelist",
        "Disconnect spares the clients of the whitelist.",
        connect("a", user="server-side-api-disconnect-whitelist"),
        connect("b", user="server-side-api-disconnect-whitelist"),
        call(
            "disconnect",
            user="server-side-api-disconnect-whitelist",
            whitelist=["<client:b>"],
        ),
        probe("b", 2),
    ),
    secured(
        "server-side-api-absent",
        "Calls about absent users answer {}.",
        call("subscribe", user="nobody", channel="token:absent"),
        call("unsubscribe", user="nobody", channel="token:absent"),
        call("disconnect", user="nobody"),
        call("disconnect", user="nobody", client="00000000-0000-0000-0000-000000000000"),
        call("refresh", user="nobody"),
    ),
]
