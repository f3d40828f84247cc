"""Why a command was not answered as asked, in the words of our error tree.

What matters to a caller is whether it may have been done: only a lost answer leaves that open, all
the rest was refused before anything was written.
"""

from __future__ import annotations

from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from realtime_node.errors import BackplaneError, BackplaneUnavailableError

from .link import describe_failure


class ScriptMissingError(BackplaneError):
    """The server does not know the script: nothing was done, load it and call again."""


def not_joined() -> BackplaneUnavailableError:
    """Before `start` and after `close`."""
    return BackplaneUnavailableError("this node is not part of the cluster: nothing was sent")


def queue_full(commands: int, size: int) -> BackplaneUnavailableError:
    """The bound of the queue is reached; `size` in bytes."""
    return BackplaneUnavailableError(
        f"{commands} commands of {size} bytes wait for Redis already: nothing was sent"
    )


def never_sent() -> BackplaneUnavailableError:
    """The deadline came before the connection."""
    return BackplaneUnavailableError("Redis could not be reached in time: nothing was sent")


def unanswered(cause: BaseException) -> BackplaneUnavailableError:
    """The connection was lost, or the deadline came, between a command and its reply."""
    return BackplaneUnavailableError(
        f"Redis did not answer, what was asked may have been done: {describe_failure(cause)}"
    )


def translated(error: ResponseError) -> BackplaneError:
    """Redis answered with an error; whatever it refused, it did not do."""
    text = str(error)
    code = str(getattr(error, "status_code", "") or text.partition(" ")[0])
    if code == "NOSCRIPT":
        return ScriptMissingError(text)
    if isinstance(error, OutOfMemoryError):
        return BackplaneUnavailableError(
            "Redis is at its maxmemory: raise maxmemory or shorten histories"
        )
    if isinstance(error, ReadOnlyError):
        return BackplaneUnavailableError("Redis is a replica now: looking for the primary")
    if isinstance(error, TryAgainError) or code in {"CLUSTERDOWN", "MASTERDOWN", "MISCONF"}:
        return BackplaneUnavailableError(f"Redis refuses for now: {text}")
    if isinstance(error, NoPermissionError):
        return BackplaneError(f"the ACL of our Redis user forbids what we need: {text}")
    return BackplaneError(f"Redis refuses: {text}")
