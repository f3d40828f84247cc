"""Certificates and keys: given in three ways, and checked before anything is connected to."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from realtime_node.certificates import TlsOptions, client_context
from realtime_node.cluster.on_redis.tls import advice
from realtime_node.errors import ConfigError
from tests.support.certificates import write_certificates


@pytest.fixture
def options(tmp_path: Path) -> TlsOptions:
    """What is right, by paths in `tmp_path`."""
    return TlsOptions(
        server_ca_pem=str(write_certificates(tmp_path)),
        cert_pem=str(tmp_path / "client.pem"),
        key_pem=str(tmp_path / "client.key"),
    )


def _text(path: str) -> str:
    return Path(path).read_text(encoding="ascii")


def _base64(path: str) -> str:
    # In lines, as `base64 FILE` writes it.
    return base64.encodebytes(_text(path).encode()).decode()


@pytest.mark.parametrize("given_as", [str, _text, _base64], ids=["path", "text", "base64"])
def test_a_pem_is_given_in_three_ways(options: TlsOptions, given_as: type[str]) -> None:
    """Path, text and base64 give the same: one authority is believed, no other."""
    names = ("server_ca_pem", "cert_pem", "key_pem")
    given = {name: given_as(getattr(options, name)) for name in names}
    context = client_context(msgspec.structs.replace(options, **given))
    assert context.cert_store_stats()["x509_ca"] == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_bundle_may_hold_comments(options: TlsOptions, tmp_path: Path) -> None:
    """Distributions write names, also beyond ASCII, between the certificates of a bundle."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"# Főtanúsítvány\n{_text(options.server_ca_pem)}", encoding="utf-8")
    context = client_context(TlsOptions(server_ca_pem=str(bundle)))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_context_is_made_once_and_again_for_a_renewed_file(
    options: TlsOptions, tmp_path: Path
) -> None:
    """Connections share a context until a file holds something else."""
    first = client_context(options)
    assert client_context(options) is first
    write_certificates(tmp_path)
    assert client_context(options) is not first


def test_a_key_is_written_to_no_disk(options: TlsOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads keys from files only: it is one in memory."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("realtime_node.certificates.NamedTemporaryFile", fail)
    client_context(options)


def test_a_system_without_files_in_memory_uses_a_temporary_one(
    options: TlsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone at once."""
    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setenv("TMPDIR", str(Path(options.key_pem).parent))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(Path(options.key_pem).parent.iterdir())
    client_context(options)
    assert set(Path(options.key_pem).parent.iterdir()) == before


def test_without_verification_neither_name_nor_authority_count() -> None:
    """`verify=False` believes everybody."""
    context = client_context(TlsOptions(verify=False))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cert_pem": "/no/file.pem"}, r"tls\.cert_pem: there is no file '/no/file\.pem': a path"),
        ({"cert_pem": "/"}, r"tls\.cert_pem: '/' cannot be read: Is a directory"),
        ({"cert_pem": pytest.__file__}, r"__init__\.py' is no PEM, which begins with"),
        ({"cert_pem": "x" * 300}, r"tls\.cert_pem is no PEM: a path of a PEM file, the PEM"),
        ({"server_ca_pem": "-----BEGIN x"}, r"tls\.server_ca_pem holds no certificate in PEM"),
        ({"cert_pem": "-----BEGIN x"}, r"tls\.cert_pem holds no certificate in PEM"),
        ({"key_pem": "-----BEGIN x"}, r"tls\.key_pem holds no private key in PEM"),
    ],
    ids=["no file", "a directory", "no PEM", "no path", "no authority", "no certificate", "no key"],
)
def test_what_is_no_certificate_is_refused(
    options: TlsOptions, changes: dict[str, str], message: str
) -> None:
    """The error names the setting, what is wrong with it, and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        client_context(msgspec.structs.replace(options, **changes))


def test_the_key_of_another_certificate_is_refused(options: TlsOptions, tmp_path: Path) -> None:
    """Key and certificate have to belong together."""
    other = msgspec.structs.replace(options, key_pem=str(tmp_path / "server.key"))
    with pytest.raises(ConfigError, match=r"key_pem is the key of another certificate than engine"):
        client_context(other)


def test_an_encrypted_key_is_refused(options: TlsOptions) -> None:
    """A key with a passphrase is told, and nobody is asked for it on a terminal."""
    key = serialization.load_pem_private_key(_text(options.key_pem).encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    ).decode()
    with pytest.raises(ConfigError, match=r"key_pem is encrypted: store it without a passphrase"):
        client_context(msgspec.structs.replace(options, key_pem=encrypted))


def test_a_broken_key_is_not_shown(options: TlsOptions) -> None:
    """What was meant to be a key and is none does not get into a log."""
    for key in ("hush\nhush", "hush" * 100, "-----BEGIN PRIVATE KEY-----\nhush"):
        with pytest.raises(ConfigError) as caught:
            client_context(msgspec.structs.replace(options, key_pem=key))
        assert "hush" not in str(caught.value)
    assert "hush" not in repr(msgspec.structs.replace(options, key_pem="hush"))


@pytest.mark.parametrize(
    ("failure", "tls", "expected"),
    [
        ("Connection reset by peer", None, "does it speak TLS alone"),
        ("Connection reset by peer", TlsOptions(), "does it ask for a certificate"),
        ("Connection closed by server.", TlsOptions(cert_pem="x"), "know the authority of"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]", TlsOptions(section="s"), r"set s.cert_pem"),
        ("Connection refused", TlsOptions(), ""),
    ],
)
def test_advice_fits_the_failure(failure: str, tls: TlsOptions | None, expected: str) -> None:
    """What can be done is said for what TLS may have caused, and for nothing else."""
    given = advice(failure, tls)
    assert expected in given
    assert bool(expected) == bool(given)
