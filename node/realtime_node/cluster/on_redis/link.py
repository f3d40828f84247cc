"""One connection to Redis: opened and introduced by redis-py, then spoken to in raw pipelines.

redis-py's own clients are not used for commands: they retry writes by themselves (a publish would
happen twice) and cost several times as much per command as the pipelines of `commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from realtime_node.errors import GarbledReplyError

from .options import Address, RedisOptions
from .replies import Reply, reading, status
from .script import Argument, pack
from .tls import TlsConnection, advice

CONNECTION_FAILURES: Final = (RedisError, OSError, TimeoutError, GarbledReplyError)
"""What a connection that cannot go on raises."""


def describe_failure(error: BaseException) -> str:
    """What a failure says, or its kind: a timeout says nothing."""
    return str(error) or type(error).__name__


_T = TypeVar("_T")

_PRIMARY: Final = b"master"
_READ_SIZE: Final = 65_536

Discover = Callable[[], Awaitable[Address]]
"""Says where the primary is at this moment, or raises one of `CONNECTION_FAILURES`."""


def is_refused_login(error: BaseException) -> bool:
    """Whether Redis did not accept who we are."""
    return _is_caused_by(error, AuthenticationError)


def is_forbidden(error: BaseException) -> bool:
    """Whether Redis knows who we are and does not let us do what we need."""
    return _is_caused_by(error, NoPermissionError)


def _is_caused_by(error: BaseException, kind: type[RedisError]) -> bool:
    cause: BaseException | None = error
    while cause is not None:  # redis-py may wrap it in a `ConnectionError`
        if isinstance(cause, kind):
            return True
        cause = cause.__cause__
    return False


class OpenLink(Protocol):
    """Opens a link under a name that operators see in CLIENT LIST."""

    async def __call__(self, name: str) -> Link:
        """Return an introduced connection; raises one of `CONNECTION_FAILURES`."""


class Link:
    """An open connection. One task speaks on it at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def write(self, packed: list[bytes]) -> None:
        """Send packed commands together."""
        await self._connection.send_packed_command(packed, check_health=False)

    async def read(self) -> Reply:
        """Take the next reply; raises redis' `ResponseError` if it is an error."""
        # redis-py takes replies apart in part, an error's text for one.
        with reading("a command"):
            try:
                return await self._connection.read_response()
            except InvalidResponse as error:
                raise ValueError(describe_failure(error)) from error

    async def call(self, *arguments: Argument, read: Callable[[Reply], _T]) -> _T:
        """Send one command and return what `read` makes of its reply; see `replies`."""
        return await self.call_packed(pack(*arguments), read=read)

    async def call_packed(self, packed: bytes, *, read: Callable[[Reply], _T]) -> _T:
        """Send one packed command and return what `read` makes of its reply."""
        await self.write([packed])
        reply = await self.read()
        with reading("a command"):
            return read(reply)

    async def check(self) -> None:
        """Raise redis' `ConnectionError` if the server has hung up while nothing was asked."""
        if await self._connection.can_read():
            raise RedisConnectionError("Redis closed the connection")

    async def abort(self) -> None:
        """Close the connection at once: its other end may never take what is still to be sent."""
        writer = self._connection._writer  # noqa: SLF001 - redis-py has no abort of its own
        if writer is not None:
            writer.transport.abort()
        await self._connection.disconnect(nowait=True)


async def open_link(options: RedisOptions, discover: Discover, name: str) -> Link:
    """Find the primary and connect to it; within `connect_timeout_s`."""
    async with asyncio.timeout(options.connect_timeout_s):
        link = await connect(options, await discover(), name)
        try:
            if options.sentinels:
                await _demand_primary(link)
        except BaseException:
            await link.abort()
            raise
    return link


async def connect(options: RedisOptions, address: Address, name: str = "") -> Link:
    """Connect, authenticate, choose the database, and say our name if there is one."""
    connection = _connection(options, name, address)
    try:
        with explained(options), reading("the greeting"):
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return Link(connection)


@contextmanager
def explained(options: RedisOptions) -> Iterator[None]:
    """Say of a connection that was refused what may be done about it."""
    try:
        yield
    except CONNECTION_FAILURES as error:
        failure = describe_failure(error)
        if what_to_do := advice(failure, options.tls_in_use):
            raise RedisConnectionError(f"{failure.rstrip('.')}: {what_to_do}") from error
        raise


async def _demand_primary(link: Link) -> None:
    if await link.call(b"ROLE", read=status) != _PRIMARY:
        raise RedisConnectionError("Sentinel still names a primary that is one no more")


def _connection(options: RedisOptions, name: str, address: Address) -> AbstractConnection:
    common: dict[str, Any] = {
        "db": options.db if address.db is None else address.db,
        "username": options.user or address.user or None,
        "password": options.password or address.password or None,
        "client_name": f"{options.prefix}-{name}" if name else None,
        "protocol": 2,
        # Our name tells enough, and an ACL need not allow CLIENT SETINFO.
        "driver_info": None,
        # Deadlines are per command and kept by `commands`, and nothing is tried twice.
        "socket_timeout": None,
        "socket_connect_timeout": options.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "socket_read_size": _READ_SIZE,
    }
    if address.path:
        return UnixDomainSocketConnection(path=address.path, **common)
    common |= {"host": address.host, "port": address.port}
    tls = options.tls_in_use
    return Connection(**common) if tls is None else TlsConnection(tls=tls, **common)
