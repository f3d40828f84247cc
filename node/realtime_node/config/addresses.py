"""Where servers listen, as settings may say it, brought into one form."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Final

from pydantic import BeforeValidator

from realtime_node.config.section import Form

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

ADDRESS_FORM: Final = (
    "HOST:PORT, redis://HOST:PORT/DATABASE, rediss://… for TLS, or unix:///PATH/TO/SOCKET"
)

_TCP_ADDRESS: Final = re.compile(
    r"(?P<scheme>redis|rediss)://(?P<host>[^\s:/?#@\[\]]+|\[[0-9a-fA-F:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(/(?P<database>[0-9]{0,5}))?",
    re.ASCII,
)
_SOCKET_ADDRESS: Final = re.compile(r"unix:///[^?#]+")
_HOST_AND_PORT: Final = re.compile(
    r"(?P<host>[^\s:/?#@\[\],]+|\[[0-9a-fA-F:.]+\])(:(?P<port>[0-9]{1,5}))?", re.ASCII
)


def parse_address(address: object) -> str:
    """Bring an address into the form of a URL with its port.

    Centrifugo takes a list of addresses, which it shards over; a list of one is taken too.
    Raises `ValueError` if the address has another form.
    """
    match address:
        case [str(only)] | str(only):
            text = only if "://" in only else f"redis://{only}"
        case [] | [_, *_]:
            raise ValueError("exactly one address is needed; there is no sharding over several")
        case _:
            raise ValueError("an address is text")
    if _SOCKET_ADDRESS.fullmatch(text):
        return text
    parts = _TCP_ADDRESS.fullmatch(text)
    if not parts:
        raise ValueError("the address cannot be understood")
    database = f"/{parts['database']}" if parts["database"] else ""
    port = _port(parts, REDIS_PORT)
    return f"{parts['scheme']}://{parts['host']}:{port}{database}"


def parse_servers(given: object, *, port: int) -> tuple[str, ...]:
    """Bring addresses of servers into the form HOST:PORT, `port` where none is said.

    As in Centrifugo several may stand in one text, separated by commas. Raises `ValueError`.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("addresses are text")
    addresses: list[str] = []
    for text in ",".join(texts).split(",") if texts else ():
        parts = _HOST_AND_PORT.fullmatch(text.strip())
        if not parts:
            raise ValueError("the address cannot be understood")
        addresses.append(f"{parts['host']}:{_port(parts, port)}")
    return tuple(addresses)


def hosts_and_ports(addresses: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Take apart what `parse_servers` has brought into form."""
    parts = (address.rpartition(":") for address in addresses)
    return tuple((host.strip("[]"), int(port)) for host, _, port in parts)


def _port(parts: re.Match[str], usual: int) -> int:
    port = int(parts["port"] or usual)
    if port not in range(1, 65536):
        raise ValueError("the address cannot be understood")
    return port


RedisAddress = Annotated[str, BeforeValidator(parse_address), Form(ADDRESS_FORM)]

RedisServers = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(parse_servers, port=REDIS_PORT)),
    Form("list of HOST:PORT"),
]

Sentinels = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(parse_servers, port=SENTINEL_PORT)),
    Form("list of HOST:PORT"),
]
