"""The whole error tree of the node.

Everything the node raises on purpose descends from `RealtimeError`, so a shell can tell a
decision of ours from a bug: `ReplyError` becomes an error reply and `Disconnect` a WebSocket
close (their codes are listed in `protocol.codes`), `BackplaneError` and `BackendError` become a
temporary error 100, and `ConfigError` is printed and ends the process before it serves anything.
"""

from __future__ import annotations


class RealtimeError(Exception):
    """Root of every error that the node raises on purpose."""


class ConfigError(RealtimeError):
    """The settings are wrong; the message names the key, its value and what is allowed."""


class ReplyError(RealtimeError):
    """A command or API call that is answered with an error; the connection stays open.

    Raise it with a row of `protocol.codes`: `raise ReplyError(*codes.PERMISSION_DENIED)`.
    """

    def __init__(self, code: int, message: str, *, temporary: bool = False) -> None:
        """Carry the wire's code and message; `temporary` asks the client to try again."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.temporary = temporary


class Disconnect(RealtimeError):
    """The connection has to be closed with this WebSocket close code and reason.

    Raise it with a row of `protocol.codes`: `raise Disconnect(*codes.BAD_REQUEST)`. `detail` is for
    our log, never for the wire.
    """

    def __init__(self, code: int, reason: str, *, detail: str = "") -> None:
        """Carry the close code, the reason the client sees and the detail the operator sees."""
        super().__init__(f"{code}: {reason}" + (f" ({detail})" if detail else ""))
        self.code = code
        self.reason = reason
        self.detail = detail


class TokenError(RealtimeError):
    """A token that cannot be accepted; the message says why and never holds the token itself."""


class TokenExpiredError(TokenError):
    """A token that was valid once: the client is asked to fetch a new one (error 109)."""


class BackendError(RealtimeError):
    """The team's backend could not be asked, or gave no answer that can be used."""

    def __init__(self, message: str, outcome: str, *, status: int = 0) -> None:
        """Carry what became of the question (see `proxy.backend`), and an HTTP status."""
        super().__init__(message)
        self.outcome = outcome
        self.status = status


class BackplaneError(RealtimeError):
    """The backplane could not do what was asked."""


class BackplaneUnavailableError(BackplaneError):
    """Redis did not answer within the deadline; whether a write was done is not known."""


class GarbledReplyError(BackplaneError):
    """Redis answered with something that is no answer to what was asked."""


class UnrecoverablePositionError(BackplaneError):
    """A history position whose epoch is not the channel's any more."""


class SchemaMismatchError(BackplaneError):
    """The keys in Redis were written by an incompatible release or with other partitions."""
