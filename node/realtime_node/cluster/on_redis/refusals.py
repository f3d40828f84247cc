"""Why a command was not answered as asked, in the words of our error tree.

What matters to a caller is whether it may have been done: only a lost answer leaves that open, all
the rest was refused before anything was written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from realtime_node.errors import BackplaneError, BackplaneUnavailableError

from .link import describe_failure

_FOR_NOW: Final = frozenset({"BUSY", "FAILOVER", "UNBLOCKED"})
_UNTIL_MENDED: Final = frozenset({"MISCONF", "NOREPLICAS"})
"""An operator's work: asking again within one deadline helps nobody."""


class ScriptMissingError(BackplaneError):
    """The server does not know the script: nothing was done, load it and call again."""


class FencedError(BackplaneError):
    """This identity counts as dead, or the partition was emptied: nothing was done."""


class UnansweredError(BackplaneUnavailableError):
    """The answer was lost: what was asked may have been done."""


class NotSentError(BackplaneUnavailableError):
    """A connection broke before it: nothing was done, ask again behind what was out on it."""


class RefusedForNowError(BackplaneUnavailableError):
    """Redis is loading, failing over or moving a slot: nothing was done, ask again in a moment."""


def not_joined() -> BackplaneUnavailableError:
    """Before `start` and after `close`."""
    return BackplaneUnavailableError("this node is not part of the cluster: nothing was sent")


def barred(why: str) -> BackplaneUnavailableError:
    """This node is no member where the command goes."""
    return BackplaneUnavailableError(f"this partition cannot be used, nothing was sent: {why}")


def queue_full(commands: int, size: int) -> BackplaneUnavailableError:
    """The bound of the queue is reached; `size` in bytes."""
    return BackplaneUnavailableError(
        f"{commands} commands of {size} bytes wait for Redis already: nothing was sent"
    )


def never_sent() -> BackplaneUnavailableError:
    """The deadline came before the connection."""
    return BackplaneUnavailableError("Redis could not be reached in time: nothing was sent")


def not_sent() -> NotSentError:
    """It waited behind commands that a connection was lost with."""
    return NotSentError("the connection to Redis was lost before it: nothing was sent")


def unanswered(cause: BaseException) -> UnansweredError:
    """The connection was lost, or the deadline came, between a command and its reply."""
    return UnansweredError(
        f"Redis did not answer, what was asked may have been done: {describe_failure(cause)}"
    )


def translated(error: RedisError) -> BackplaneError:
    """Redis answered with an error; whatever it refused, it did not do."""
    text = str(error)
    code = str(getattr(error, "status_code", "") or text.partition(" ")[0])
    for kind, refusal in _BY_KIND.items():
        if isinstance(error, kind):
            return refusal(text)
    if code in _FOR_NOW:
        return RefusedForNowError(f"Redis refuses for now: {text}")
    if code in _UNTIL_MENDED:
        return BackplaneUnavailableError(f"Redis refuses for now: {text}")
    return BackplaneError(f"Redis refuses: {text}")


_BY_KIND: Final[dict[type[RedisError], Callable[[str], BackplaneError]]] = {
    NoScriptError: ScriptMissingError,
    OutOfMemoryError: lambda _: BackplaneUnavailableError(
        "Redis is at its maxmemory: raise maxmemory or shorten histories"
    ),
    ReadOnlyError: lambda _: RefusedForNowError("Redis is a replica now: looking for the primary"),
    BusyLoadingError: lambda _: RefusedForNowError("Redis is loading its data"),
    ClusterDownError: lambda text: RefusedForNowError(f"the Redis Cluster is down: {text}"),
    AskError: lambda text: RefusedForNowError(f"Redis moved a slot: {text}"),
    TryAgainError: lambda text: RefusedForNowError(f"Redis is moving a slot: {text}"),
    NoPermissionError: lambda text: BackplaneError(
        f"the ACL of our Redis user forbids what we need: {text}"
    ),
}
