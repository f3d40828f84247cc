"""Where our node deliberately says something else than the recorded server, and why."""

from __future__ import annotations

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


DELIBERATE: Final[list[Deliberate]] = [
    Deliberate(
        conversation="*",
        step="*",
        where="/received/*/connect/node",
        theirs=ABSENT,
        ours="<node>",
        reason="the protocol's field for it tells a client which node it is on; SDKs ignore it",
    ),
]
