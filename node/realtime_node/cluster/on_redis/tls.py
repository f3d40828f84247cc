"""TLS towards Redis and Sentinel: certificates are read and checked, then spoken with.

They are read with every connection, since a certificate may be renewed in the life of a node, but a
context is made only of what was not seen before: making one takes milliseconds, and after an outage
all connections are made at once.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from realtime_node.errors import ConfigError

from .options import TlsOptions

_CONTEXTS: Final = 8
"""That of Redis and that of Sentinel, with their predecessors."""
_LONGEST_PATH: Final = 255
_BEGIN: Final = "-----BEGIN "
_ALLOWED: Final = "a path of a PEM file, the PEM itself, and the PEM in base64 are allowed"

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
        self._handshake_timeout_s = socket_connect_timeout * 2 / 3

    def _connection_arguments(self) -> Mapping[str, Any]:
        try:
            context = client_context(self._tls)
        except ConfigError as error:
            # The node has started with a good one: the next renewal may mend it.
            raise RedisConnectionError(str(error)) from error
        return {
            **super()._connection_arguments(),
            "ssl": context,
            "server_hostname": self._tls.server_name or self.host,
            # Ends before the timeout of the connection, so that it is told which of both it was.
            "ssl_handshake_timeout": self._handshake_timeout_s,
        }


def client_context(tls: TlsOptions) -> ssl.SSLContext:
    """What the options say, read from disk where they name files; raises `ConfigError`."""
    authorities = _read(tls.server_ca_pem, f"{tls.section}.server_ca_pem")
    certificate = _read(tls.cert_pem, f"{tls.section}.cert_pem")
    key = _read(tls.key_pem, f"{tls.section}.key_pem")
    return _context(tls, authorities, certificate, key)


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


@lru_cache(maxsize=_CONTEXTS)
def _context(tls: TlsOptions, authorities: str, certificate: str, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authorities or None)
    except ssl.SSLError as error:
        raise _no_certificate(f"{tls.section}.server_ca_pem", error) from error
    # Alike with every Python: 3.13 has begun to refuse what many a private authority issues, and to
    # believe a certificate that is named itself.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate or key:
        _show(context, certificate, key, tls.section)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str, section: str) -> None:
    """Make the context show a certificate of ours to servers that ask for one."""

    def passphrase() -> str:
        raise ConfigError(
            f"{section}.key_pem is encrypted: store it without a passphrase, readable to the node"
            " alone (openssl pkey -in KEY -out PLAIN_KEY)"
        )

    try:
        ssl.create_default_context(cadata=certificate)
    except ssl.SSLError as error:
        raise _no_certificate(f"{section}.cert_pem", error) from error
    try:
        # Python takes both from files only; this one nobody else can read, and it is gone at once.
        with NamedTemporaryFile("w", encoding="ascii", prefix="realtime-node-") as file:
            file.write(f"{key}\n{certificate}")
            file.flush()
            context.load_cert_chain(file.name, password=passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{section}.key_pem is the key of another certificate than {section}.cert_pem"
            ) from error
        raise ConfigError(
            f"{section}.key_pem holds no private key in PEM that can be used: {error.reason}"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{section}.cert_pem: a directory for temporary files is needed, which TMPDIR may name:"
            f" {error}"
        ) from error


def _no_certificate(key: str, error: ssl.SSLError) -> ConfigError:
    return ConfigError(f"{key} holds no certificate in PEM that can be used: {error}")


def _read(given: str, key: str) -> str:
    """Return the PEM that is given in one of three ways, without what is not of its alphabet."""
    if not given or _BEGIN in given:
        return given.encode("ascii", "ignore").decode()
    try:
        decoded = base64.b64decode("".join(given.split()), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if _BEGIN.encode() in decoded:
        return decoded.decode("ascii", "ignore")
    if len(given) > _LONGEST_PATH or "\n" in given or "\0" in given:
        # What was meant may be a secret: it is not shown.
        raise ConfigError(f"{key} is no PEM: {_ALLOWED}")
    try:
        text = Path(given).read_bytes().decode("ascii", "ignore")
    except FileNotFoundError:
        raise ConfigError(f"{key}: there is no file {given!r}: {_ALLOWED}") from None
    except OSError as error:
        raise ConfigError(f"{key}: {given!r} cannot be read: {error.strerror}") from error
    if _BEGIN not in text:
        raise ConfigError(f"{key}: {given!r} is no PEM, which begins with {_BEGIN}…")
    return text
