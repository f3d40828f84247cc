"""Transcripts as files, and what is different between two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from tests.contract.wire.conversation import Exchange, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GOLDEN = Path(__file__).parent / "golden"


def write(transcript: Transcript, directory: Path) -> None:
    """Write a transcript to a file of its name, for people to read."""
    text = json.dumps(msgspec.to_builtins(transcript), indent=1, ensure_ascii=False)
    (directory / f"{transcript.name}.json").write_text(text + "\n")


def read(path: Path) -> Transcript:
    """Read what `write` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Transcript)


class Absent:
    """Stands where one of two transcripts has nothing."""

    def __repr__(self) -> str:
        """Say so."""
        return "nothing"


ABSENT: Final = Absent()


class Difference(NamedTuple):
    """A place where two transcripts differ."""

    step: int
    """The number of the step, from 1."""
    where: str
    """The place in what followed the step, as in `/received/a/0/subscribe/offset`."""
    expected: Any
    actual: Any


def differences(expected: Transcript, actual: Transcript) -> list[Difference]:
    """Return every place, as deep as possible, where `actual` is not as `expected`."""
    return [
        Difference(step, where, one, other)
        for step, (wanted, got) in enumerate(
            zip(expected.exchanges, actual.exchanges, strict=True), start=1
        )
        for where, one, other in _different(_comparable(wanted), _comparable(got), "")
    ]


def describe(transcript: Transcript, found: Iterable[Difference]) -> str:
    """Return differences from `transcript` for people to read, each below the step it follows."""
    return "\n".join(
        f"{transcript.name}, step {difference.step}:"
        f" {msgspec.json.encode(transcript.exchanges[difference.step - 1].step).decode()}\n"
        f"  at {difference.where}\n"
        f"    expected {_shown(difference.expected)}\n"
        f"    but got  {_shown(difference.actual)}"
        for difference in found
    )


def _comparable(exchange: Exchange) -> dict[str, Any]:
    received = exchange.received
    if exchange.step.interleaved:
        received = {name: sorted(messages, key=_stream) for name, messages in received.items()}
    answer = msgspec.to_builtins(exchange.answer)
    return {"received": received, **({"answer": answer} if answer else {})}


def _stream(message: dict[str, Any]) -> str:
    channel: str = message.get("push", {}).get("channel", "")
    return channel


def _different(one: Any, other: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict) and _kind(one) == _kind(other):
        for key in sorted(one.keys() | other.keys()):
            yield from _different(one.get(key, ABSENT), other.get(key, ABSENT), f"{where}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _different(left, right, f"{where}/{index}")
    elif one != other or type(one) is not type(other):
        yield where, one, other


# Of objects with different ones among these keys nothing else is worth comparing.
_REPLIES: Final = ("connect", "history", "ping", "publish", "refresh", "sub_refresh", "subscribe")
_KINDS: Final = frozenset({"result", "error", "push", "close", "refused", *_REPLIES})


def _kind(message: dict[str, Any]) -> tuple[Any, frozenset[str]]:
    return message.get("status"), _KINDS & message.keys()


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
