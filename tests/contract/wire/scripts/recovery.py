"""Coming back: what a subscriber that names its last position is told."""

from __future__ import annotations

from typing import Any

from tests.contract.wire.conversation import AnyStep, Conversation, Drop
from tests.contract.wire.scripts.building import connect, publish, secured, send, subscribe


def _returning(
    name: str,
    about: str,
    *,
    namespace: str = "recover",
    before: int = 2,
    missed: int,
    **position: Any,
) -> Conversation:
    """A subscriber hears `before` publications, is gone for `missed` and asks with `position`."""
    channel = f"{namespace}:{name}"
    published = [publish(channel, {"n": n}) for n in range(1, before + missed + 2)]
    steps: list[AnyStep] = [
        connect("a", user=name),
        subscribe("a", 2, channel),
        *published[:before],
        Drop(on="a"),
        *published[before:-1],
        connect("back", user=name),
        subscribe("back", 2, channel, **position),
        published[-1],
    ]
    return secured(name, about, *steps)


CONVERSATIONS = [
    secured(
        "recovery-first",
        "The first subscribe to a recoverable channel tells the position to come back with.",
        connect("a", user="recovery-first"),
        subscribe("a", 2, "recover:first"),
        publish("recover:first", {"n": 1}),
        publish("recover:first", {"n": 2}),
        connect("b", user="recovery-first-b"),
        subscribe("b", 2, "recover:first"),
        publish("recover:first", {"n": 3}),
    ),
    _returning(
        "recovery-missed-none",
        "Whoever missed nothing is told so.",
        missed=0,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-missed-three",
        "What was missed comes with the reply, in order, and not again.",
        missed=3,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-from-zero",
        "Offset 0 of the right epoch is a position too.",
        missed=1,
        recover=True,
        offset=0,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-without-position",
        "Neither offset nor epoch: the whole history.",
        missed=1,
        recover=True,
    ),
    _returning(
        "recovery-without-epoch",
        "An offset without an epoch.",
        missed=2,
        recover=True,
        offset=2,
    ),
    _returning(
        "recovery-wrong-epoch",
        "Another epoch cannot be recovered: the top position, and no `recovered`.",
        missed=2,
        recover=True,
        offset=2,
        epoch="wrong",
    ),
    _returning(
        "recovery-trimmed",
        "What was missed is partly trimmed: not recovered.",
        namespace="short",
        missed=4,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-trimmed-just-not",
        "The oldest publication left is the first one missed: recovered.",
        namespace="short",
        missed=3,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-future-offset",
        "A position beyond the top cannot be recovered.",
        missed=1,
        recover=True,
        offset=99,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-not-asked",
        "Without `recover` a position in the request means nothing.",
        missed=1,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-not-offered",
        "A channel with history that does not offer recovery.",
        namespace="history",
        missed=1,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    _returning(
        "recovery-no-history",
        "A channel without history has nothing to recover.",
        namespace="open",
        missed=1,
        recover=True,
        offset=2,
        epoch="wrong",
    ),
    _returning(
        "recovery-positioned",
        "A positioned channel tells the position, but does not recover.",
        namespace="position",
        missed=1,
        recover=True,
        offset=2,
        epoch="<epoch:1>",
    ),
    secured(
        "recovery-same-connection",
        "Unsubscribe and recover on one connection.",
        connect("a", user="recovery-same-connection"),
        subscribe("a", 2, "recover:same-connection"),
        publish("recover:same-connection", {"n": 1}),
        send("a", 3, "unsubscribe", channel="recover:same-connection"),
        publish("recover:same-connection", {"n": 2}),
        subscribe("a", 4, "recover:same-connection", recover=True, offset=1, epoch="<epoch:1>"),
        publish("recover:same-connection", {"n": 3}),
    ),
    secured(
        "recovery-tags",
        "Recovered publications keep their tags.",
        connect("a", user="recovery-tags"),
        subscribe("a", 2, "recover:tags"),
        send("a", 3, "unsubscribe", channel="recover:tags"),
        publish("recover:tags", {"n": 1}, tags={"kind": "news"}),
        subscribe("a", 4, "recover:tags", recover=True, offset=0, epoch="<epoch:1>"),
    ),
]
