"""Where our node deliberately says something else than the recorded server, and why."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.contract.wire.transcripts import ABSENT

if TYPE_CHECKING:
    from tests.contract.wire.transcripts import Difference


class Deliberate(NamedTuple):
    """A difference that is meant. Step and place are patterns as in file names."""

    conversation: str
    step: str
    where: str
    theirs: Any
    ours: Any
    reason: str

    def covers(self, conversation: str, found: Difference) -> bool:
        """Whether this is what was found."""
        return (
            fnmatchcase(conversation, self.conversation)
            and fnmatchcase(str(found.step), self.step)
            and fnmatchcase(found.where, self.where)
            and (found.expected, found.actual) == (self.theirs, self.ours)
        )


_BAD_REQUEST: Final = {"code": 107, "message": "bad request"}
_NO_DATA: Final = {"code": 107, "message": "bad request: data is required"}
_SUBSCRIBED: Final = {
    "recoverable": True,
    "epoch": "<epoch:1>",
    "offset": 1,
    "positioned": True,
}

# Rows for every conversation ("*") may go unused in any of them; every other row has to be true.
DELIBERATE: Final[list[Deliberate]] = [
    Deliberate(
        "*",
        "*",
        "/received/*/connect/node",
        ABSENT,
        "<node>",
        "the protocol has a field for the node a client is on; it is of help in a cluster",
    ),
    *[
        Deliberate(
            "*",
            "*",
            f"/received/*/{publication}/epoch",
            "<epoch:1>",
            ABSENT,
            "whoever needs the epoch has it from its subscribe reply, which is never without",
        )
        for publication in ("pub", "publications/*")
    ],
    Deliberate(
        "api-*",
        "*",
        "/answer/body/result/nodes/*/metrics",
        "<metrics>",
        ABSENT,
        "/metrics tells more, to whom it concerns",
    ),
    *[
        Deliberate(
            "api-*",
            "*",
            "/answer/body/result/nodes/*/ready",
            ABSENT,
            is_ready,
            "nodes tell each other whether they are ready, a new one with its second heartbeat",
        )
        for is_ready in (True, False)
    ],
    # --- Frames and commands
    Deliberate(
        "frame-blank-line",
        "2",
        "/received/a/1",
        {"close": {"code": 3501, "reason": "bad request"}},
        {"id": 3, "error": {"code": 108, "message": "not available"}},
        "an empty line between commands asks for nothing",
    ),
    Deliberate(
        "frame-garbage-after-command",
        "2",
        "/received/a",
        [
            {"id": 2, "error": {"code": 108, "message": "not available"}},
            {"close": {"code": 3501, "reason": "bad request"}},
        ],
        [{"close": {"code": 3501, "reason": "bad request"}}],
        "a frame is read whole before anything in it is done",
    ),
    Deliberate(
        "ping-command",
        "2",
        "/received/a/0",
        {"close": {"code": 3501, "reason": "bad request"}},
        {"id": 2, "ping": {}},
        "the protocol's definition has this command",
    ),
    Deliberate(
        "ping-command",
        "3",
        "/received/a",
        ABSENT,
        [{"id": 3, "error": {"code": 108, "message": "not available"}}],
        "so the connection goes on",
    ),
    Deliberate(
        "limit-message-size",
        "3",
        "/received/a/0/close/reason",
        "",
        "frame with 1066 bytes exceeds limit of 1000 bytes",
        "the reason tells the limit",
    ),
    Deliberate(
        "connect-refresh",
        "2",
        "/received/a/0/refresh/client",
        ABSENT,
        "<client:a>",
        "the protocol has this field",
    ),
    Deliberate(
        "connect-refresh",
        "2",
        "/received/a/0/refresh/version",
        ABSENT,
        "<version>",
        "the protocol has this field",
    ),
    Deliberate(
        "history-since",
        "19",
        "/received/a/0/history/publications",
        [],
        [{"data": {"n": 5}, "offset": 5}, {"data": {"n": 4}, "offset": 4}],
        "backwards from beyond the top is from the top, as the recorded server has it with Redis",
    ),
    *[
        Deliberate(
            "patience-failed-connect",
            "2",
            f"/received/a/0/close/{field}",
            theirs,
            ours,
            "a client that waits behind its refused connect is to come back",
        )
        for field, theirs, ours in (("code", 3502, 3000), ("reason", "stale", "connection closed"))
    ],
    Deliberate(
        "subscribe-token-expiring",
        "4",
        "/received/a/0",
        {"id": 4, "sub_refresh": {}},
        {"close": {"code": 3006, "reason": "subscription expired"}},
        "an expired token does not make a subscription one that never expires",
    ),
    # --- Server-side subscriptions
    Deliberate(
        "server-side-channels-claim",
        "4",
        "/received/a/0/error/code",
        105,
        103,
        "whether the client may subscribe comes first",
    ),
    Deliberate(
        "server-side-channels-claim",
        "4",
        "/received/a/0/error/message",
        "already subscribed",
        "permission denied",
        "whether the client may subscribe comes first",
    ),
    Deliberate(
        "server-side-api-recover-since",
        "4",
        "/received/a",
        [{"push": {"channel": "recover:since-by-api", "subscribe": _SUBSCRIBED}}],
        [
            {"push": {"channel": "recover:since-by-api", "subscribe": _SUBSCRIBED}},
            {
                "push": {
                    "channel": "recover:since-by-api",
                    "pub": {"data": {"n": 2}, "offset": 2},
                }
            },
        ],
        "what was published since then has to follow, or the subscriber never sees it",
    ),
    Deliberate(
        "server-side-api",
        "4",
        "/received/a",
        [{"push": {"channel": "token:by-api", "subscribe": {}}}],
        ABSENT,
        "a subscription that exists is not announced again",
    ),
    Deliberate(
        "server-side-api-one-client",
        "5",
        "/received/b",
        [
            {
                "push": {
                    "channel": "token:one-client",
                    "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
                }
            }
        ],
        ABSENT,
        "a client that was not subscribed is not told that it no longer is",
    ),
    Deliberate(
        "server-side-api-unsubscribe-all",
        "4",
        "/received/a",
        [{"push": {"unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}}],
        [
            {
                "push": {
                    "channel": f"open:unsubscribe-all-{n}",
                    "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
                }
            }
            for n in (1, 2)
        ],
        "the end of every subscription is told to the SDK, which knows them by channel",
    ),
    # --- HTTP API
    *[
        Deliberate(conversation, step, where, "bad request", _NO_DATA["message"], "it says what")
        for conversation, step, where in (
            ("api-http-empty-body", "2", "/answer/body/error/message"),
            ("api-publish-errors", "3", "/answer/body/error/message"),
            ("batch", "3", "/answer/body/replies/3/error/message"),
        )
    ],
    Deliberate(
        "api-publish-b64data",
        "4",
        "/answer/body/error/message",
        "bad request",
        "bad request: invalid base64",
        "it says what",
    ),
    Deliberate(
        "api-broadcast-errors",
        "3",
        "/answer/body",
        {"result": {"responses": [{"error": _BAD_REQUEST}]}},
        {"error": _NO_DATA},
        "what is wrong with the call, and not with a channel, is said once",
    ),
    Deliberate(
        "api-publish-errors",
        "6",
        "/answer/body",
        {"result": {}},
        {"error": _BAD_REQUEST},
        "nobody could subscribe to a channel with so long a name",
    ),
    *[
        Deliberate(
            "batch-odd",
            step,
            "/answer/body/replies",
            ABSENT,
            [],
            "no commands, no replies: readers need not ask whether there is a list",
        )
        for step in ("1", "2")
    ],
    *[
        Deliberate(
            "batch-odd",
            step,
            "/answer/body/replies/0/error/message",
            "not found",
            "method not found",
            "the client protocol's words for the same code",
        )
        for step in ("3", "4")
    ],
    Deliberate(
        "api-http",
        "9",
        "/answer",
        {"status": 200, "body": {"error": _BAD_REQUEST}},
        {"status": 400},
        "null is no object",
    ),
    Deliberate(
        "api-http",
        "10",
        "/answer",
        {"status": 404},
        {"status": 401},
        "who has no key is not told which methods there are",
    ),
    # --- What is not offered
    *[
        Deliberate(
            "api-action-errors",
            step,
            "/answer/body",
            {"result": {}},
            {
                "error": {
                    "code": 107,
                    "message": "bad request: user is required; for anonymous clients, client or"
                    " session",
                }
            },
            "a forgotten user does not mean all anonymous clients",
        )
        for step in ("3", "5", "6")
    ],
    *[
        Deliberate(conversation, step, "/answer", theirs, {"status": 404}, "not offered")
        for conversation, step, theirs in (
            ("api-action-errors", "7", {"status": 200, "body": {"result": {}}}),
            ("server-side-api-absent", "5", {"status": 200, "body": {"result": {}}}),
            (
                "api-channels",
                "4",
                {
                    "status": 200,
                    "body": {
                        "result": {
                            "channels": {
                                "open:api-channels-1": {"num_clients": 1},
                                "open:api-channels-2": {"num_clients": 1},
                            }
                        }
                    },
                },
            ),
            ("api-channels", "5", {"status": 200, "body": {"result": {"channels": {}}}}),
            (
                "api-rpc",
                "1",
                {"status": 200, "body": {"error": {"code": 104, "message": "not found"}}},
            ),
        )
    ],
]


def silences(conversation: str) -> set[tuple[int, str]]:
    """The steps, from 1, and connections that hear nothing from our node, but did when recorded."""
    place = re.compile(r"/received/([^/*]+)")
    return {
        (int(row.step), found[1])
        for row in DELIBERATE
        if row.conversation == conversation and row.ours is ABSENT
        if (found := place.fullmatch(row.where))
    }
