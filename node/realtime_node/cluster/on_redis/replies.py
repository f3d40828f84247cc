"""Readers of what Redis answers: the right shape, or an error.

A connection may bring anything: a proxy that mixes answers up, a server that is none of ours, bytes
that were flipped on the way. That is an outage of Redis and not a bug of the node, so it has to
look like one: every reply is read by functions of this module, in `Commands` or inside of
`reading`, and what they raise (`MISREAD`) becomes a `GarbledReplyError`, which ends the connection
that it came on.

What is wrong with a value that is *kept* in Redis is none of this: it comes back on any connection.
That is an `UnreadableEntryError`, see `entries`, and costs its own caller only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

from realtime_node.errors import GarbledReplyError

# redis-py types its replies as Any as well: their shape is each command's own.
Reply = Any

MISREAD: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What reading a reply of the wrong shape raises."""

OK: Final = b"OK"
_SHOWN_BYTES: Final = 80


class reading:  # noqa: N801 - it reads as `with reading("…"):`
    """Raise a `GarbledReplyError` for what the block cannot read."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        """`what` names the command that was answered."""
        self._what = what

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Translate what the block raised."""
        if isinstance(error, MISREAD):
            raise garbled(self._what, error) from error


def garbled(what: str, error: BaseException) -> GarbledReplyError:
    """Say that the answer to `what` could not be read, and why."""
    return GarbledReplyError(f"the answer to {what} cannot be read: {error!r}"[:500])


def as_is(reply: Reply) -> Reply:
    """Take any reply: for answers that nobody looks at."""
    return reply


def array(reply: Reply) -> list[Reply]:
    """Read an array."""
    if type(reply) is not list:
        raise TypeError(f"{_shown(reply)} is no array")
    return reply


def status(reply: Reply) -> bytes:
    """Read what a script's answer begins with."""
    return data(array(reply)[0])


def ok(reply: Reply) -> None:
    """Read an answer that says that it was done, and nothing else."""
    if reply != [OK]:
        raise ValueError(f"{_shown(reply)} is not OK")


def one_of(*statuses: bytes) -> Callable[[Reply], bytes]:
    """Read an answer that is one of these statuses, and nothing else."""

    def read(reply: Reply) -> bytes:
        (found,) = array(reply)
        if found not in statuses:
            raise ValueError(f"the status {_shown(found)} is unknown")
        return data(found)

    return read


def data(value: Reply) -> bytes:
    """Read a string of bytes."""
    if type(value) is not bytes:
        raise TypeError(f"{_shown(value)} is no string")
    return value


def number(value: Reply) -> int:
    """Read a whole number that is not negative, whether Redis has it as such or as a string."""
    if type(value) is not int:
        value = int(data(value))
    if value < 0:
        raise ValueError(f"{value} is negative")
    return int(value)


def fraction(value: Reply) -> float:
    """Read a number that is not negative, as a string."""
    found = float(data(value))
    if not 0 <= found < math.inf:
        raise ValueError(f"{found} is out of range")
    return found


def flag(value: Reply) -> bool:
    """Read 0 or 1."""
    if value not in (0, 1):
        raise ValueError(f"{_shown(value)} is neither 0 nor 1")
    return bool(value)


def ok_and_flag(reply: Reply) -> bool:
    """Read an answer that says that it was done, and 0 or 1."""
    done, found = array(reply)
    ok([done])
    return flag(found)


def text(value: Reply) -> str:
    """Read a string of characters."""
    return data(value).decode()


def texts(values: Reply) -> list[str]:
    """Read an array of such."""
    return [text(value) for value in array(values)]


def datas(values: Reply) -> list[bytes]:
    """Read an array of strings of bytes."""
    return [data(value) for value in array(values)]


def pairs(flat: Reply) -> dict[bytes, bytes]:
    """Read fields and their values, in turn."""
    values = datas(flat)
    return dict(zip(values[::2], values[1::2], strict=True))


def rows(entries: Reply) -> Sequence[tuple[bytes, list[bytes]]]:
    """Read entries of a stream: their ids, and of each one field and its value."""
    found: list[tuple[bytes, list[bytes]]] = []
    for entry in array(entries):
        identity, fields = array(entry)
        field, value = array(fields)
        data(field), data(value)
        found.append((data(identity), fields))
    return found


def _shown(value: Reply) -> str:
    return repr(value)[:_SHOWN_BYTES]
