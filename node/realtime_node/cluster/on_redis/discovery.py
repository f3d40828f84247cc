"""Where the primary is: the configured address, or what Sentinel says at this moment.

Asked before every connection, so that a reconnect finds the successor. A Sentinel may still name a
primary that has been demoted: the connection is then given up and asked for again.
"""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from .options import Address, RedisOptions

PRIMARY: Final = b"master"
"""What ROLE answers on one."""


async def discover(options: RedisOptions) -> Address:
    """Return where to connect; raises redis' `MasterNotFoundError` when no Sentinel knows."""
    address = options.endpoint
    if not options.sentinels:
        return address
    ask: dict[str, Any] = {
        "username": options.sentinel_user or None,
        "password": options.sentinel_password or None,
        "socket_timeout": options.connect_timeout_s,
        "socket_connect_timeout": options.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel: Any = Sentinel(options.sentinels, sentinel_kwargs=ask)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinel.discover_master(options.sentinel_master)
    finally:
        for asked in sentinel.sentinels:
            await asked.aclose()
    return address._replace(host=host, port=port, path="")
