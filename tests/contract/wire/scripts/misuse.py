"""What no SDK sends, and commands that nobody handles."""

from __future__ import annotations

from tests.contract.wire.conversation import Conversation, Send, SendText
from tests.contract.wire.scripts.building import (
    command,
    connect,
    insecure,
    probe,
    secured,
    send,
    subscribe,
)


def _after_connect(name: str, about: str, *texts: str) -> Conversation:
    return insecure(name, about, connect("a"), *[SendText(on="a", text=text) for text in texts])


CONVERSATIONS = [
    insecure(
        "ping-command",
        "The `ping` command of the protocol's definition.",
        connect("a"),
        send("a", 2, "ping"),
        probe("a", 3),
    ),
    insecure(
        "rpc-without-handler",
        "A call that nobody handles is error 108.",
        connect("a"),
        send("a", 2, "rpc", method="anything", data={"x": 1}),
        send("a", 3, "rpc"),
        probe("a", 4),
    ),
    insecure(
        "send-without-handler",
        "A message that nobody handles closes the connection.",
        connect("a"),
        Send(on="a", commands=[{"send": {"data": {"x": 1}}}]),
    ),
    insecure(
        "command-without-id",
        "A command that needs a reply needs an id.",
        connect("a"),
        Send(on="a", commands=[{"subscribe": {"channel": "open:without-id"}}]),
    ),
    insecure(
        "command-two-methods",
        "A command is one request.",
        connect("a"),
        Send(
            on="a",
            commands=[{"id": 2, "subscribe": {"channel": "open:two-methods"}, "rpc": {}}],
        ),
    ),
    insecure(
        "command-same-id",
        "Ids are the client's business.",
        connect("a"),
        probe("a", 1),
        probe("a", 1),
    ),
    insecure(
        "connect-not-first",
        "The first command must be connect.",
        subscribe("a", 1, "open:not-first"),
    ),
    insecure(
        "ping-first",
        "Not even a ping may come before connect.",
        send("a", 1, "ping"),
    ),
    insecure(
        "connect-twice",
        "A connection is made once.",
        connect("a"),
        connect("a", 2),
    ),
    insecure(
        "connect-twice-pipelined",
        "A second connect in the frame of the first.",
        Send(on="a", commands=[command(1, "connect"), command(2, "connect")]),
    ),
    insecure(
        "connect-without-id",
        "Connect needs a reply, so it needs an id.",
        Send(on="a", commands=[{"connect": {}}]),
    ),
    insecure("frame-empty-first", "An empty first frame.", SendText(on="a", text="")),
    insecure("frame-garbage-first", "A first frame of garbage.", SendText(on="a", text="hello")),
    insecure("frame-pong-first", "A pong before connect.", SendText(on="a", text="{}")),
    _after_connect("frame-empty", "An empty frame closes the connection.", ""),
    _after_connect("frame-newline", "A frame of one newline.", "\n"),
    _after_connect("frame-trailing-newline", "A newline at the end.", '{"id":2,"rpc":{}}\n'),
    _after_connect(
        "frame-blank-line",
        "An empty line between commands.",
        '{"id":2,"rpc":{}}\n\n{"id":3,"rpc":{}}',
    ),
    _after_connect("frame-garbage", "Garbage closes the connection.", "garbage"),
    _after_connect("frame-truncated", "A truncated command.", '{"id":2,"rp'),
    _after_connect(
        "frame-garbage-after-command",
        "Garbage behind a good command of the same frame.",
        '{"id":2,"rpc":{}}\ngarbage',
    ),
    _after_connect("frame-array", "An array is no command.", '[{"id":2,"rpc":{}}]'),
    _after_connect("frame-number", "Nor is a number.", "7"),
    _after_connect("frame-null", "Nor is null.", "null"),
    _after_connect("command-unknown", "An unknown command.", '{"id":2,"unknown":{}}'),
    _after_connect("command-id-only", "An id and nothing else.", '{"id":2}'),
    _after_connect("command-id-string", "An id that is no number.", '{"id":"2","rpc":{}}'),
    _after_connect("command-id-negative", "A negative id.", '{"id":-2,"rpc":{}}'),
    _after_connect("command-id-huge", "An id beyond 32 bits.", '{"id":4294967296,"rpc":{}}'),
    _after_connect(
        "command-wrong-type",
        "A field of the wrong type.",
        '{"id":2,"subscribe":{"channel":["open:wrong-type"]}}',
    ),
    _after_connect(
        "command-unknown-field",
        "An unknown field is ignored: tomorrow's SDK talks to today's server.",
        '{"id":2,"rpc":{"later":true},"also_later":[1]}',
    ),
    _after_connect("command-null-request", "A request that is null.", '{"id":2,"rpc":null}'),
    _after_connect("pong-unsolicited", "A pong nobody asked for.", "{}"),
    secured(
        "misuse-after-failed-subscribe",
        "An error leaves the connection as it was.",
        connect("a", user="misuse-after-failed-subscribe"),
        subscribe("a", 2, "nowhere:x"),
        subscribe("a", 3, "open:after-failed"),
        probe("a", 4),
    ),
]
