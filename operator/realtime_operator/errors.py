"""The whole error tree of the operator.

What the operator raises on purpose descends from `OperatorError`: a shell that catches it may log
one line and try again at its next tick; anything else is a bug and comes with its traceback.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Root of every error that the operator raises on purpose."""


class SettingsError(OperatorError):
    """The operator's own settings are wrong; the message names the variable and what is allowed."""


class SpecError(OperatorError):
    """A RealtimeCluster that the API server let through and that still cannot be understood."""


class MissingClusterError(OperatorError):
    """Somebody asks about a RealtimeCluster that is not there."""


class SimulationError(OperatorError):
    """A simulation was asked for that cannot be; the message says what can."""


class ApiServerError(OperatorError):
    """The API server refused a call, or did not answer it."""

    def __init__(
        self, what: str, *, status: int | None = None, reason: str = "", message: str = ""
    ) -> None:
        """Say what was tried; `status` is the HTTP status, None where there was no answer.

        `reason` is the API server's word for it, such as `AlreadyExists`, if it has one.
        """
        super().__init__(f"{what}: {status or 'no answer'} {message}".rstrip())
        self.status = status
        self.reason = reason
        self.message = message


class NodeUnreachableError(OperatorError):
    """A node did not answer in time, or answered something that is no answer."""


class WatchEndedError(OperatorError):
    """kopf's watches ended although nobody asked them to."""


class LeaseLostError(OperatorError):
    """Another replica may hold the lease by now: nothing may be written any more."""
