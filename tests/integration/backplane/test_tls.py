"""TLS with Redis and with Sentinel: who is believed, who is asked, and what is said if not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from realtime_node import certificates
from realtime_node.certificates import TlsOptions
from realtime_node.errors import BackplaneUnavailableError
from tests.support.backplanes import RedisCluster
from tests.support.certificates import write_certificates
from tests.support.redis_server import RedisServer
from tests.support.sentinel import NAME, Sentinel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# The server's alert may be lost with the connection: then it is only asked.
NO_CERTIFICATE: Final = r"it asks? for a certificate.* engine\.redis\.tls\.cert_pem"
UNKNOWN_AUTHORITY: Final = r"it (does not )?know the authority of engine\.redis\.tls\.cert_pem"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A directory with certificates of one authority."""
    return _authority(tmp_path, "known")


@pytest.fixture
def server(known: Path) -> Iterator[RedisServer]:
    """A Redis that speaks TLS alone and asks its clients for a certificate."""
    with RedisServer(tls=known, settings=_asking(known)) as server:
        yield server


def _authority(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir()
    write_certificates(directory)
    return directory


def _asking(known: Path) -> tuple[str, ...]:
    return ("--tls-auth-clients", "yes", "--tls-ca-cert-file", str(known / "authority.pem"))


def _options(known: Path, **changes: str | bool) -> TlsOptions:
    options = TlsOptions(
        server_ca_pem=str(known / "authority.pem"),
        cert_pem=str(known / "client.pem"),
        key_pem=str(known / "client.key"),
    )
    return msgspec.structs.replace(options, **changes)


def _cluster(server: RedisServer, tls: TlsOptions | None) -> RedisCluster:
    cluster = RedisCluster(server.url)
    cluster.options = msgspec.structs.replace(cluster.options, tls=tls)
    return cluster


async def _works(cluster: RedisCluster) -> None:
    node = await cluster.node("a")
    assert (await node.publish("news", "hello")).offset == 1
    await cluster.close()


async def test_both_sides_prove_who_they_are(server: RedisServer, known: Path) -> None:
    """A server of the authority we believe lets us in with a certificate of the one it believes."""
    await _works(_cluster(server, _options(known)))


async def test_certificates_are_read_in_a_thread(
    server: RedisServer, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read with every connection, and the event loop waits for no disk."""
    threads: list[threading.Thread] = []

    def read(*given: str) -> str:
        threads.append(threading.current_thread())
        return certificates_read(*given)

    certificates_read = certificates._read
    monkeypatch.setattr(certificates, "_read", read)
    await _works(_cluster(server, _options(known)))
    assert threads
    assert threading.main_thread() not in threads


async def test_a_certificate_may_be_given_as_text(server: RedisServer, known: Path) -> None:
    """The PEM itself, as from a variable of the environment, is as good as its path."""
    options = _options(
        known,
        cert_pem=(known / "client.pem").read_text(),
        key_pem=(known / "client.key").read_text(),
        server_ca_pem=(known / "authority.pem").read_text(),
    )
    await _works(_cluster(server, options))


@pytest.mark.parametrize("server_name", ["localhost", "127.0.0.1"])
async def test_the_name_in_the_certificate_can_be_another(
    server: RedisServer, known: Path, server_name: str
) -> None:
    """`server_name` is what the certificate is compared with, not where we connect to."""
    await _works(_cluster(server, _options(known, server_name=server_name)))


async def test_no_verification_believes_everybody(server: RedisServer, known: Path) -> None:
    """Where it is switched off, neither name nor authority matter."""
    options = _options(known, server_ca_pem="", server_name="redis.example", verify=False)
    await _works(_cluster(server, options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"server_name": "redis.example"},
            r"not valid for 'redis\.example'.*: set engine\.redis\.tls\.server_name to a name",
        ),
        (
            {"server_ca_pem": ""},
            r"certificate verify failed.*: engine\.redis\.tls\.server_ca_pem has to hold",
        ),
        ({"cert_pem": "", "key_pem": ""}, NO_CERTIFICATE),
    ],
    ids=["another name", "the system's authorities", "no certificate of ours"],
)
async def test_what_is_wrong_is_told(
    server: RedisServer, known: Path, changes: dict[str, str], message: str
) -> None:
    """A connection that TLS forbids fails at start, with the reason and the setting to change."""
    with pytest.raises(BackplaneUnavailableError, match=message):
        await _cluster(server, _options(known, **changes)).node_at_once("a")


async def test_authorities_that_are_not_known_are_told(
    server: RedisServer, known: Path, tmp_path: Path
) -> None:
    """A server of another authority is refused by us, and a certificate of another one by it."""
    other = _authority(tmp_path, "other")
    with pytest.raises(BackplaneUnavailableError, match="server_ca_pem has to hold its authority"):
        await _cluster(
            server, _options(known, server_ca_pem=str(other / "authority.pem"))
        ).node_at_once("a")
    theirs = {"cert_pem": str(other / "client.pem"), "key_pem": str(other / "client.key")}
    with pytest.raises(BackplaneUnavailableError, match=UNKNOWN_AUTHORITY):
        await _cluster(server, _options(known, **theirs)).node_at_once("a")


async def test_a_port_without_tls_is_told(known: Path) -> None:
    """A server that speaks no TLS at this port, and waits for us, is told within the timeout."""
    with RedisServer(tcp=True) as server:
        cluster = _cluster(server, _options(known))
        options = msgspec.structs.replace(cluster.options, connect_timeout_s=0.5)
        with pytest.raises(BackplaneUnavailableError, match="is TLS spoken at this port"):
            await cluster.node_at_once("a", options=options)


async def test_a_port_with_tls_alone_is_told(server: RedisServer) -> None:
    """A server that speaks TLS alone hangs up on who does not."""
    with pytest.raises(BackplaneUnavailableError, match="does it speak TLS alone"):
        await RedisCluster(f"redis://127.0.0.1:{server.port}").node_at_once("a")


async def test_a_renewed_certificate_is_used(server: RedisServer, known: Path) -> None:
    """Files are read with every connection: the next one shows what they hold by then."""
    cluster = _cluster(server, _options(known))
    await _works(cluster)
    renewed = _authority(known, "renewed")
    for name in ("client.pem", "client.key"):
        (known / name).write_text((renewed / name).read_text())
    with pytest.raises(BackplaneUnavailableError, match=UNKNOWN_AUTHORITY):
        await cluster.node_at_once("b")


async def test_a_broken_renewal_is_told(server: RedisServer, known: Path) -> None:
    """A file that is gone by the next connection is named in why it cannot be made."""
    (known / "client.key").unlink()
    with pytest.raises(
        BackplaneUnavailableError, match=r"key_pem: there is no file '.*client\.key"
    ):
        await _cluster(server, _options(known)).node_at_once("a")


@pytest.mark.store("sentinel")
async def test_sentinel_is_asked_with_tls(known: Path) -> None:
    """Sentinels have TLS of their own: without it they are not understood, with it they answer."""
    with Sentinel(tls=known) as sentinel:
        cluster = RedisCluster("redis://127.0.0.1")
        cluster.options = msgspec.structs.replace(
            cluster.options,
            sentinels=(("127.0.0.1", sentinel.port),),
            sentinel_master=NAME,
            sentinel_tls=_options(known, server_name="localhost", section="sentinel_tls"),
        )
        await _works(cluster)
        for tls, message in (
            (
                _options(known, server_name="x.example", section="sentinel_tls"),
                r"'x\.example'.*set",
            ),
            (None, "does it speak TLS alone"),
        ):
            options = msgspec.structs.replace(cluster.options, sentinel_tls=tls)
            with pytest.raises(BackplaneUnavailableError, match=f"Sentinel 127.*{message}"):
                await cluster.node_at_once("b", options=options)
