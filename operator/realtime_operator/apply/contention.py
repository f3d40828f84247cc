"""What was written lately, and what does not stay as it was written. Pure, with a clock.

An object that has not changed is not applied again within a minute, unless somebody has touched it.
Two things may go on for ever then. Another controller sets a field back each time, or a mutating
webhook stamps the object at each write. So each write that had to change the object once more,
although nothing else was asked for, doubles the pause before the next one, up to ten minutes; an
event that only tells of the operator's own write is no touch. An object that was changed back
several times is *contested*: people are told the field and the manager that owns it.

The same pause holds for metadata of Pods and for the finalizer, which are written by patches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from realtime_operator.build.names import FIELD_MANAGER

Object = Mapping[str, Any]

AGAIN_AFTER_S: Final = 60.0
"""What is as it should be is applied again after this long: a change may have been missed."""
FIRST_PAUSE_S: Final = 2.0
"""After the second change in a row: one may be anybody's mistake, and is mended at once."""
LONGEST_PAUSE_S: Final = 600.0
CONTESTED_AFTER: Final = 3
"""Changes in a row after which people are told."""
FORGIVEN_AFTER_S: Final = 2 * LONGEST_PAUSE_S
"""Without another change for so long, an object counts as settled."""
OWN_VERSIONS: Final = 8
"""Versions that are remembered of an object's last writes: their events come a little later."""

_NOT_COMPARED: Final = frozenset({"managedFields", "resourceVersion", "generation", "uid"})


class _Written:
    """One object as it was last written."""

    def __init__(self, content: str, at: float) -> None:
        self.content = content
        self.at = at
        self.live: Object | None = None
        """As it was seen last: the API server's answer, or an event after it; None: deleted."""
        self.is_touched = False
        self.own_versions: deque[str] = deque(maxlen=OWN_VERSIONS)
        self.changes = 0
        """Writes in a row that had to change it although nothing new was asked for."""
        self.changed_at = float("-inf")
        self.message = ""

    @property
    def pause_s(self) -> float:
        """How long it is left alone after a write."""
        if self.changes < 2:  # noqa: PLR2004 - as FIRST_PAUSE_S says
            return 0.0
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.changes - 2))


class Contention:
    """The writes of one cluster's objects: an entry for each that was written within the hour."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin without knowing any."""
        self._monotonic = monotonic
        self._written: dict[str, _Written] = {}

    def touched(self, place: str, live: Object | None) -> None:
        """Somebody has changed an object to `live`, or deleted it (None); it may have been us."""
        known = self._written.get(place)
        if known is None or (live and _version(live) in known.own_versions):
            return
        known.live, known.is_touched = live, True

    def forget(self, place: str) -> None:
        """An object was deleted by the operator itself."""
        self._written.pop(place, None)

    def is_due(self, place: str, content: str) -> bool:
        """Whether an object should be applied: it is another, was touched, or not seen for long."""
        known = self._written.get(place)
        if known is None or known.content != content:
            return True
        passed_s = self._monotonic() - known.at
        return passed_s >= (
            known.pause_s if known.is_touched else max(AGAIN_AFTER_S, known.pause_s)
        )

    def applied(self, place: str, content: str, answer: Object) -> None:
        """Note that an object was applied, and what it is since."""
        known, now = self._written.get(place), self._monotonic()
        if known is None or known.content != content:
            known = self._written[place] = _Written(content, now)
        elif why := _why(known.live, answer):
            self._changed(known, f"{place}: {why}")
        known.at, known.live, known.is_touched = now, answer, False
        known.own_versions.append(_version(answer))

    def may_patch(self, place: str, content: str) -> bool:
        """Whether a patch may be made now, of which `content` says what it is for."""
        known = self._written.get(place)
        if known is None or known.content != content:
            return True
        return self._monotonic() - known.at >= known.pause_s

    def patched(self, place: str, content: str) -> None:
        """Note a patch that was made: the same one again means that it was undone."""
        known, now = self._written.get(place), self._monotonic()
        if known is None or known.content != content:
            known = self._written[place] = _Written(content, now)
        else:
            self._changed(known, f"{place}: {content} is undone after each write")
        known.at = now

    def contested(self) -> tuple[str, ...]:
        """What does not stay as it is written, for people; old entries are forgotten."""
        now = self._monotonic()
        for place, known in list(self._written.items()):
            if now - max(known.at, known.changed_at) > FORGIVEN_AFTER_S:
                del self._written[place]
            elif now - known.changed_at > FORGIVEN_AFTER_S:
                known.changes = 0
        return tuple(
            f"{known.message}; it is left as it is for {known.pause_s:.0f} s after each write"
            for known in self._written.values()
            if known.changes >= CONTESTED_AFTER
        )

    def _changed(self, known: _Written, message: str) -> None:
        known.changes = min(known.changes + 1, 32)
        known.changed_at = self._monotonic()
        known.message = message


def _version(manifest: Object) -> str:
    return str(manifest.get("metadata", {}).get("resourceVersion", ""))


def _why(before: Object | None, after: Object) -> str:
    """Which field a write had to change, and who had changed it; empty if it changed none."""
    if before is None:
        return "somebody deletes it after each write"
    path = next(_differences(before, after, ()), ())
    if not path:
        return ""
    field = ".".join(path)
    owners = {
        entry.get("manager", "")
        for manifest in (before, after)
        for entry in manifest.get("metadata", {}).get("managedFields", ())
        if _owns(entry.get("fieldsV1", {}), path)
    } - {FIELD_MANAGER}
    if not owners:  # it came with the operator's own write
        return f"{field} is another one after each write: a mutating webhook sets it"
    return f"{field} is changed after each write by {', '.join(sorted(owners))}"


def _differences(before: object, after: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of what differs; a list counts as one value."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if before != after:
            yield path
        return
    for key in sorted({*before, *after}):
        if key not in _NOT_COMPARED and (path or key != "status"):
            yield from _differences(before.get(key), after.get(key), (*path, key))


def _owns(fields: Object, path: tuple[str, ...]) -> bool:
    """Whether managed fields include a path, or a value above it that is owned as a whole."""
    for key in path:
        below = fields.get(f"f:{key}")
        if below is None:
            return False
        if not below:
            return True
        fields = below
    return True
