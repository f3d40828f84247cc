"""Certificates and keys: read, checked, and made into what TLS is spoken with.

For every connection that a node makes: to Redis, and to the team's backend. They are given as a
path, as the PEM itself, or as the PEM in base64. Making a context takes milliseconds, so one is
made only of what was not seen before. Reading a file may take longer: while a node runs, that is
done in a thread (`load_client_context`), never in the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, NamedTuple

import msgspec

from realtime_node.config.tls import ClientTls
from realtime_node.errors import ConfigError

_CONTEXTS: Final = 32
"""Those of Redis, of Sentinel and of the proxies, with their predecessors."""
_LONGEST_PATH: Final = 255
_BEGIN: Final = "-----BEGIN "
_ALLOWED: Final = "a path of a PEM file, the PEM itself, and the PEM in base64 are allowed"


class TlsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is verified and, with a client certificate, how we prove who we are.

    Each `…_pem` is a path, the PEM itself, or the PEM in base64.
    """

    cert_pem: str = ""
    key_pem: str = ""
    server_ca_pem: str = ""
    """Certificates to trust; empty: the system's."""
    server_name: str = ""
    """What the server's certificate must be for; empty: the host that is connected to."""
    verify: bool = True
    """False accepts any certificate: for tests only."""
    section: str = "engine.redis.tls"
    """Where these are set, for errors."""

    def __repr__(self) -> str:
        """Show no key."""
        return f"TlsOptions({self.section})"


def tls_options(tls: ClientTls, section: str) -> TlsOptions:
    """Say settings as they are used here; `section` is where they stand."""
    return TlsOptions(
        cert_pem=tls.cert_pem,
        key_pem=tls.key_pem.get_secret_value(),
        server_ca_pem=tls.server_ca_pem,
        server_name=tls.server_name,
        verify=not tls.insecure_skip_verify,
        section=section,
    )


def client_context(tls: TlsOptions) -> ssl.SSLContext:
    """What the options say, read from disk where they name files; raises `ConfigError`."""
    authorities = _read(tls.server_ca_pem, f"{tls.section}.server_ca_pem")
    certificate = _read(tls.cert_pem, f"{tls.section}.cert_pem")
    key = _read(tls.key_pem, f"{tls.section}.key_pem")
    return _context(tls, authorities, certificate, key)


async def load_client_context(tls: TlsOptions) -> ssl.SSLContext:
    """Do the same in a thread, for callers in the event loop; raises `ConfigError`."""
    return await asyncio.to_thread(client_context, tls)


class Trust(NamedTuple):
    """How a server is verified, and the context that its certificates made when last read."""

    options: TlsOptions
    context: ssl.SSLContext

    @classmethod
    def read(cls, options: TlsOptions) -> Trust:
        """Read the certificates now; raises `ConfigError`."""
        return cls(options, client_context(options))

    async def reread(self) -> Trust:
        """Read them again, in a thread; raises `ConfigError`."""
        return self._replace(context=await load_client_context(self.options))


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
        with _as_file(f"{key}\n{certificate}") as path:
            context.load_cert_chain(path, password=passphrase)
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


@contextmanager
def _as_file(secret: str) -> Iterator[str]:
    """Give a secret a path while the block runs, since Python takes keys from files only.

    The file is in memory where the system has such files (Linux), so that no disk ever holds a key;
    elsewhere it is a temporary one that nobody else can read.
    """
    try:
        descriptor = os.memfd_create("realtime-node", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{descriptor}"
    except (AttributeError, OSError):
        with NamedTemporaryFile("w", encoding="ascii", prefix="realtime-node-") as file:
            file.write(secret)
            file.flush()
            yield file.name
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
        file.flush()
        yield path


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
