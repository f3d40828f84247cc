"""TLS towards Redis and Sentinel: spoken by redis-py with our own context, and advice if it fails.

Certificates are read with every connection, in a thread, since they may be renewed in the life of a
node.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from realtime_node.certificates import TlsOptions, load_client_context
from realtime_node.errors import ConfigError

_ADVICE: Final = {
    "SSL handshake is taking longer": "is TLS spoken at this port?",
    "WRONG_VERSION_NUMBER": "no TLS is spoken at this port",
    "RECORD_LAYER_FAILURE": "no TLS is spoken at this port",
    "CERTIFICATE_REQUIRED": "it asks for a certificate: set {section}.cert_pem and key_pem",
    "ALERT_DECRYPT_ERROR": "it does not know the authority of {section}.cert_pem",
    "ALERT_UNKNOWN_CA": "it does not know the authority of {section}.cert_pem",
    "ostname mismatch": "set {section}.server_name to a name in its certificate",
    "IP address mismatch": "set {section}.server_name to a name in its certificate",
    "certificate verify failed": "{section}.server_ca_pem has to hold its authority",
}
"""What OpenSSL and asyncio say, and what to do; the first that fits."""
_HANGUPS: Final = ("reset by peer", "closed by server", "EOF")
"""All that is seen of a refusal if the alert is lost with the connection."""


class TlsConnection(Connection):
    """redis-py's connection, but for its own context, which it makes anew each time."""

    def __init__(
        self,
        *,
        tls: TlsOptions,
        socket_connect_timeout: float,
        **arguments: Any,  # noqa: ANN401 - redis-py's own
    ) -> None:
        super().__init__(socket_connect_timeout=socket_connect_timeout, **arguments)
        self._tls = tls
        self._connect_timeout_s = socket_connect_timeout
        self._handshake_timeout_s = socket_connect_timeout * 2 / 3
        self._context: ssl.SSLContext | None = None

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._context = await load_client_context(self._tls)
        except ConfigError as error:
            # The node has started with a good one: the next renewal may mend it.
            raise RedisConnectionError(str(error)) from error
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {
            **super()._connection_arguments(),
            "ssl": self._context,
            "server_hostname": self._tls.server_name or self.host,
            # Ends before the timeout of the connection, so that it is told which of both it was.
            "ssl_handshake_timeout": self._handshake_timeout_s,
        }


def advice(failure: str, tls: TlsOptions | None) -> str:
    """What to do about a connection that failed, as a question where that is not sure; or ''."""
    for reason, what_to_do in _ADVICE.items():
        if reason in failure:
            return what_to_do.format(section=(tls or TlsOptions()).section)
    if not any(hangup in failure for hangup in _HANGUPS):
        return ""
    if tls is None:
        return "does it speak TLS alone, which is not enabled?"
    if not tls.cert_pem:
        return f"does it ask for a certificate, {tls.section}.cert_pem?"
    return f"does it know the authority of {tls.section}.cert_pem?"
