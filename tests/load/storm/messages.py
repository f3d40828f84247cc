"""What the lab and its members tell each other: JSON lines over standard input and output.

    lab ──▶ member    Start, then any number of Choose and Mark, at last Judge
    member ──▶ lab    a Second for each second of its life, and one Story at the end

Times are those of the monotonic clock, which all processes of a machine share, in seconds. A node
is named by its port.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tests.load.storm.following import Following

Times = dict[int, list[float]]
"""Node → when something happened there."""

COMING: Final = "coming"
"""Before all clients were there."""
CALM: Final = "calm"
"""Before the fault."""
UNAFFECTED: Final = "unaffected"
"""After it, at clients that have kept their connection since."""
AFFECTED: Final = "affected"
"""After it, at those that have lost it."""
GROUPS: Final = (COMING, CALM, UNAFFECTED, AFFECTED)


class Start(msgspec.Struct, tag=True):
    """Play clients."""

    nodes: list[int]
    first: int
    """Number of the first client; a number is a user, and decides on the channel."""
    clients: int
    channels: list[str]
    secret: str
    connects_per_s: float
    """At which the clients come for the first time."""
    least_delay_s: float
    most_delay_s: float


class Choose(msgspec.Struct, tag=True):
    """From now on choose among these nodes, as a Service whose endpoints have changed would."""

    nodes: list[int]


class Mark(msgspec.Struct, tag=True):
    """A part of the scenario begins: CALM, or UNAFFECTED for the fault.

    What clients receive is filed under it, unless they have lost their connection to the fault.
    """

    part: str


class Churn(msgspec.Struct, tag=True):
    """Let so many clients a second leave and come back; 0 stops it."""

    per_s: float


class Stall(msgspec.Struct, tag=True):
    """Let the first so many clients read nothing for a while."""

    clients: int
    seconds: float


class Judge(msgspec.Struct, tag=True):
    """End, and tell what every client got."""


Order = Start | Choose | Mark | Churn | Stall | Judge


class Second(msgspec.Struct, tag=True, kw_only=True):
    """What happened since the last one."""

    at_s: float
    here: int
    """Clients that are connected and subscribed now."""
    attempts: Times
    """Connections begun."""
    upgrades: Times
    """Upgrades granted: the node let a client in."""
    joins: Times
    """Clients that were subscribed again."""
    closes: dict[int, Times]
    """Ends of connections, by code; 1006 without a close frame."""
    refusals: dict[str, Times]
    """Attempts that came to nothing: "503", "error 111", "unreachable", …"""
    latencies: dict[str, dict[int, int]]
    """Part of the scenario, or AFFECTED → bins of a `Histogram`; live publications only."""
    cpu_s: float


class Story(msgspec.Struct, tag=True, kw_only=True):
    """What became of the clients."""

    followings: list[Following]
    reconnects: list[int]
    """Of each client: connections after the first."""
    back_s: list[float]
    """From the loss of a connection to being subscribed again, of every such case."""
    recovered: int
    """Publications that came with a recovery."""
    ended: dict[str, int]
    """Clients that will never come back, by reason; there should be none."""


Report = Second | Story


def new_second() -> Second:
    """Return one in which nothing has happened yet."""
    return Second(
        at_s=0,
        here=0,
        attempts={},
        upgrades={},
        joins={},
        closes={},
        refusals={},
        latencies={group: {} for group in GROUPS},
        cpu_s=0,
    )
