"""A backend over HTTP, with servers that answer well, badly, late and not at all."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from realtime_node import certificates
from realtime_node.certificates import TlsOptions, Trust
from realtime_node.errors import BackendError
from realtime_node.proxy.http_backend import Endpoint, HttpBackend
from tests.support.certificates import write_certificates
from tests.support.node_process import free_port
from tests.support.team import TeamServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MEBIBYTE = 1024 * 1024


@pytest.fixture
async def backend(team: TeamServer) -> AsyncIterator[HttpBackend]:
    """A backend that reads at most 64 KiB and waits for half a second."""
    made = HttpBackend(Endpoint(team.url("/ask"), 0.5, 65_536, connections=4, may_repeat=True))
    yield made
    await made.close()


async def _failure(backend: HttpBackend) -> BackendError:
    with pytest.raises(BackendError) as raised:
        await backend.call(b"{}", ())
    return raised.value


async def test_connections_are_kept_and_nothing_else(
    team: TeamServer, backend: HttpBackend
) -> None:
    """Questions share connections; what one was answered with does not go out with the next."""

    async def set_cookie(_: web.Request) -> web.Response:
        return web.Response(body=b"[1]", headers={"Set-Cookie": "sid=stolen"})

    team.answers["/ask"] = set_cookie
    for _ in range(5):
        assert await backend.call(b'{"q": 1}', [("cookie", "sid=1"), ("X-Key", "k")]) == b"[1]"
    assert len(team.peers) == 1
    headers = team.questions[-1].headers
    assert headers["cookie"] == "sid=1"
    assert headers["x-key"] == "k"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("realtime-node/")


async def test_a_backend_that_is_slow_is_not_waited_for(
    team: TeamServer, backend: HttpBackend
) -> None:
    """The timeout is for the whole answer, also for one that drips."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.02)
        return response

    async def sleep(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(2)
        return web.Response()

    for handler in (drip, sleep):
        team.answers["/ask"] = handler
        assert (await _failure(backend)).outcome == "timeout"


async def test_a_body_of_ten_megabytes_is_not_read(team: TeamServer, backend: HttpBackend) -> None:
    """Announced or not, what is larger than the bound is left where it is."""
    sent = 0

    async def announced(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(10 * MEBIBYTE))

    async def chunked(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10):
            await response.write(bytes(MEBIBYTE))
            sent += MEBIBYTE
        return response

    async def bomb(_: web.Request) -> web.StreamResponse:
        body = gzip.compress(bytes(10 * MEBIBYTE))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    for handler in (announced, chunked):
        team.answers["/ask"] = handler
        assert (await _failure(backend)).outcome == "too_large"
    assert sent < 10 * MEBIBYTE
    # What was compressed though nobody asked for it is taken as it stands: no JSON.
    team.answers["/ask"] = bomb
    assert len(await backend.call(b"{}", ())) < 65_536


@pytest.mark.parametrize("status", [201, 204, 301, 404, 500, 503])
async def test_other_statuses_than_200_are_failures(
    team: TeamServer, backend: HttpBackend, status: int
) -> None:
    """No redirect is followed, and no status is as good as another."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": team.url("/elsewhere")})

    team.answers["/ask"] = answer
    error = await _failure(backend)
    assert (error.outcome, error.status) == ("status", status)
    assert not team.asked("/elsewhere")


async def test_a_question_that_a_closed_connection_swallowed_is_put_again(
    team: TeamServer,
) -> None:
    """Only where asking twice does no harm."""
    swallowed = 0

    async def swallow(request: web.Request) -> web.StreamResponse:
        nonlocal swallowed
        swallowed += 1
        if swallowed % 2:
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(0.1)
        return web.json_response({})

    team.answers["/ask"] = swallow
    for may_repeat in (True, False):
        swallowed = 0
        backend = HttpBackend(
            Endpoint(team.url("/ask"), 2.0, 100, connections=1, may_repeat=may_repeat)
        )
        if may_repeat:
            assert await backend.call(b"{}", ()) == b"{}"
        else:
            assert (await _failure(backend)).outcome == "unreachable"
        await backend.close()


async def test_nobody_listens() -> None:
    """A backend that is not there is said to be so, at once."""
    backend = HttpBackend(Endpoint(f"http://127.0.0.1:{free_port()}/", 5.0, 100, connections=1))
    assert (await _failure(backend)).outcome == "unreachable"
    await backend.close()


@pytest.mark.parametrize(
    "query",
    ["code=a%2Fb%3D", "sig=a+b%20c&x=%7E~", "q=%c3%a9;%2b", "empty=&&a", ""],
)
async def test_the_url_is_called_as_it_is_written(team: TeamServer, query: str) -> None:
    """A signature may depend on how it is quoted."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.json_response({})

    team.answers["/a%2Fb/ask"] = answer
    team.answers["/a/b/ask"] = answer
    path = f"/a%2Fb/ask?{query}" if query else "/a%2Fb/ask"
    backend = HttpBackend(Endpoint(team.url(path), 2.0, 100, connections=1))
    await backend.call(b"{}", ())
    assert seen == [path]
    await backend.close()


async def test_no_failure_tells_the_query(team: TeamServer) -> None:
    """Nor what the backend sent: errors are logged."""

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SECRET\0\r\n\r\n")
        await asyncio.sleep(5)
        return web.Response()

    async def too_long(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Set-Cookie": "SECRET" + "c" * 20_000})

    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/?SECRET"})

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 200)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    async def gone(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    for handler in (broken, too_long, redirect, large, slow, gone):
        team.answers["/ask"] = handler
        backend = HttpBackend(Endpoint(team.url("/ask?code=SECRET"), 0.3, 100, connections=1))
        assert "SECRET" not in str(await _failure(backend)), handler
        await backend.close()
    nowhere = f"http://127.0.0.1:{free_port()}/?code=SECRET"
    backend = HttpBackend(Endpoint(nowhere, 5.0, 100, connections=1))
    assert "SECRET" not in str(await _failure(backend))
    await backend.close()


async def test_an_answer_may_have_a_header_of_16_kib(
    team: TeamServer, backend: HttpBackend
) -> None:
    """As the requests of clients may, whose cookies the backend sets."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}", headers={"Set-Cookie": "c" * 16_000})

    team.answers["/ask"] = answer
    assert await backend.call(b"{}", ()) == b"{}"


@pytest.mark.parametrize("name", ["bad\r\nname", "x"])
async def test_a_header_cannot_break_out(team: TeamServer, backend: HttpBackend, name: str) -> None:
    """What is no header is refused here and not sent."""
    headers: Any = [(name, "v\r\nX-Injected: 1")]
    with pytest.raises(BackendError):
        await backend.call(b"{}", headers)
    assert not any("x-injected" in question.headers for question in team.questions)


async def test_renewed_certificates_are_read_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop waits for no disk; what cannot be read leaves the last one in use."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = write_certificates(tmp_path)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    threads: list[threading.Thread] = []

    def read(*given: str) -> str:
        threads.append(threading.current_thread())
        return certificates_read(*given)

    certificates_read = certificates._read
    monkeypatch.setattr(certificates, "_read", read)
    monkeypatch.setattr("realtime_node.proxy.http_backend._REREAD_S", 0.0)
    trust = Trust.read(TlsOptions(server_ca_pem=str(authority)))
    threads.clear()
    async with TeamServer(context) as server:
        backend = HttpBackend(Endpoint(server.url("/ask"), 2.0, 100, connections=1, trust=trust))
        assert await backend.call(b"{}", ()) == b"{}"
        assert threads
        assert threading.main_thread() not in threads
        authority.unlink()
        assert await backend.call(b"{}", ()) == b"{}"
        await backend.close()


async def test_a_backend_is_believed_only_with_the_right_certificate(tmp_path: Path) -> None:
    """Its authority has to be the one that is set; a client certificate is shown if it asks."""
    authority = write_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ours = TlsOptions(
        server_ca_pem=str(authority),
        cert_pem=str(tmp_path / "client.pem"),
        key_pem=str(tmp_path / "client.key"),
    )
    async with TeamServer(context) as server:
        for tls, is_believed in (
            (ours, True),
            (msgspec.structs.replace(ours, cert_pem="", key_pem=""), False),
            (msgspec.structs.replace(ours, server_ca_pem=""), False),
            (msgspec.structs.replace(ours, server_name="elsewhere"), False),
            (None, False),
        ):
            trust = None if tls is None else Trust.read(tls)
            backend = HttpBackend(
                Endpoint(server.url("/ask"), 2.0, 100, connections=1, trust=trust)
            )
            if is_believed:
                assert await backend.call(b"{}", ()) == b"{}"
            else:
                assert (await _failure(backend)).outcome == "unreachable"
            await backend.close()
