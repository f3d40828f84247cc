"""What a command's function returns, shared by `commands` and `connecting`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime_node.protocol.messages import Reply

if TYPE_CHECKING:
    from realtime_node.session.session import Session


class Outcome(NamedTuple):
    """What came of a command."""

    reply: Reply | None = None
    then: Callable[[], Awaitable[None]] | None = None
    """Runs right after the reply was written, before the next command."""


Execute = Callable[["Session", int, Any], Awaitable[Outcome]]
