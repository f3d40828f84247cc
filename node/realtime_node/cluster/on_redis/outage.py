"""What hinders a connection at the moment: logged once per cause, however often it is tried."""

from __future__ import annotations

import logging

from .link import describe_failure


class Outage:
    """The failures of something that is tried again every few moments."""

    def __init__(self, log: logging.Logger, message: str) -> None:
        """`message` says in `log` what cannot be done; why follows."""
        self._log = log
        self._message = message
        self.cause = ""
        """The last failure; empty while all is well."""

    def note(self, error: BaseException) -> None:
        """Take note of a failure."""
        failure = describe_failure(error)
        level = logging.DEBUG if failure == self.cause else logging.WARNING
        self._log.log(level, "%s: %s", self._message, failure)
        self.cause = failure

    def end(self) -> None:
        """Forget it: it works again."""
        self.cause = ""
