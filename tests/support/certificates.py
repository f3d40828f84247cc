"""Certificates of a server on the loopback interface and of a client, and their authority."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

_HOUR = dt.timedelta(hours=1)


def write_certificates(directory: Path, *server_names: str) -> Path:
    """Write authority.pem and, signed by it, server and client, .pem and .key.

    The server may be called `server_names` too. Returns the authority's path.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    # An own name, so that an unknown authority is not taken for the known one.
    issuer = f"authority {directory.name}"
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    called = [x509.DNSName(name) for name in ("localhost", *server_names)]
    names = x509.SubjectAlternativeName([loopback, *called])
    as_authority = x509.BasicConstraints(ca=True, path_length=0)
    authority = _certificate(issuer, authority_key, issuer, authority_key, as_authority)
    path = directory / "authority.pem"
    path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name, extension in (
        ("server", names),
        ("client", x509.BasicConstraints(ca=False, path_length=None)),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, issuer, authority_key, extension)
        (directory / f"{name}.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return path


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    authority_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _HOUR)
        .add_extension(extension, critical=True)
        .sign(authority_key, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
