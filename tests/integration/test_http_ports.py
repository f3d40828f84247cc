"""What requests may do to a port before a handler knows the caller: next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import re
import time
from functools import cache
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from realtime_node.server.bodies import read_body
from realtime_node.server.http_protocol import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_REQUEST_LINE_BYTES,
)
from realtime_node.server.listening import Listeners
from realtime_node.telemetry.limited_log import LINES_PER_PERIOD
from realtime_node.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY_LIMIT = 16_384
SECRET = "SECRET-of-somebody"
KEY = "the-key"
INFLATED_BYTES = 200 << 20


@cache
def bomb() -> bytes:
    """Return 200 MB of blanks, compressed to less than a megabyte."""
    return gzip.compress(b" " * INFLATED_BYTES, compresslevel=6)


class Port:
    """A port that serves a few routes, as those of a node are served."""

    def __init__(self) -> None:
        """`start` it."""
        self.number = 0
        self.metrics = Metrics()
        self.bodies: list[bytes | None] = []
        self._listeners = Listeners(self.metrics.http, reuse_port=False)

    async def start(self) -> None:
        """Listen."""
        routes = [web.get("/livez", self._livez), web.post("/api", self._api)]
        url = await self._listeners.listen("127.0.0.1", 0, routes, patience_s=30)
        self.number = int(url.rpartition(":")[2])

    async def stop(self) -> None:
        """Close everything."""
        await self._listeners.close()

    def refused(self, reason: str) -> int:
        """Return how many requests were refused for a reason."""
        text = self.metrics.expose().decode()
        found = re.search(rf'http_requests_refused_total{{reason="{reason}"}} (\d+)', text)
        assert found is not None
        return int(found[1])

    async def exchange(self, *pieces: bytes) -> bytes:
        """Send bytes over a connection and return all that comes until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        answer = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while received := await reader.read(65_536):
                    answer += received
        writer.close()
        return answer

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{len(request.headers.get('Cookie', ''))}\n")

    async def _api(self, request: web.Request) -> web.Response:
        if request.headers.get("X-API-Key") != KEY:
            return web.Response(status=401)
        self.bodies.append(await read_body(request, BODY_LIMIT))
        return web.Response(text="done\n")


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    """A port that listens."""
    port = Port()
    await port.start()
    yield port
    await port.stop()


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request that asks for the connection to be closed."""
    lines = [f"{method} {path} HTTP/1.1", "Host: node", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


# --- Content-Encoding ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api", "/livez", "/nowhere"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "unheard-of"])
async def test_an_encoded_body_is_refused(port: Port, path: str, encoding: str) -> None:
    """Whatever it is for, and however its bytes look, the answer says what to do instead."""
    for body in (gzip.compress(b"{}"), b"no gzip at all"):
        header = f"Content-Encoding: {encoding}"
        answer = await port.exchange(request("POST", path, header, f"X-API-Key: {KEY}", body=body))
        assert status_of(answer) == 415
        assert b"send the body as it is" in answer
        assert b"Accept-Encoding: identity" in answer
    assert port.refused("encoding") == 2
    assert port.bodies == []


async def test_a_body_that_says_it_is_not_encoded_is_taken(port: Port) -> None:
    """`identity` is no encoding."""
    answer = await port.exchange(
        request("POST", "/api", "Content-Encoding: identity", f"X-API-Key: {KEY}", body=b"{}")
    )
    assert status_of(answer) == 200
    assert port.bodies == [b"{}"]


async def test_bombs_cost_no_more_than_their_bytes(port: Port) -> None:
    """Ten bombs, two gigabytes of blanks, take less than a second of the loop's thread."""
    bombs = [
        request("POST", path, "Content-Encoding: gzip", body=bomb())
        for path in ("/api", "/livez", "/nowhere", "/api", "/api") * 2
    ]
    began_at = time.thread_time()
    answers = await asyncio.gather(*(port.exchange(each) for each in bombs))
    assert time.thread_time() - began_at < 1.0
    assert {status_of(answer) for answer in answers} == {415}


@pytest.mark.parametrize("size", [BODY_LIMIT, BODY_LIMIT + 1])
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
async def test_the_bound_of_a_body_holds(port: Port, size: int, *, chunked: bool) -> None:
    """A body of as many bytes as may be is read, with one more it is not."""
    key, body = f"X-API-Key: {KEY}", b"x" * size
    if chunked:
        data = request("POST", "/api", key, "Transfer-Encoding: chunked")
        data += b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    else:
        data = request("POST", "/api", key, body=body)
    await port.exchange(data)
    assert port.bodies == [body if size <= BODY_LIMIT else None]


# --- Expect --------------------------------------------------------------------------------------


async def test_a_body_is_asked_for_when_it_is_read(port: Port) -> None:
    """A caller with the key is asked for its body, one without is refused at once."""
    expects = "Expect: 100-continue"
    known = request("POST", "/api", expects, f"X-API-Key: {KEY}", body=b"{}")
    assert (await port.exchange(known)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    unknown = request("POST", "/api", expects, "X-API-Key: guessed", body=b"{}")
    assert (await port.exchange(unknown)).startswith(b"HTTP/1.1 401 ")


async def test_a_body_that_is_too_large_is_not_asked_for(port: Port) -> None:
    """Its length is known before."""
    body = b"x" * (BODY_LIMIT + 1)
    expects = request("POST", "/api", "Expect: 100-continue", f"X-API-Key: {KEY}", body=body)
    assert b"100 Continue" not in await port.exchange(expects)


# --- Heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8_191, 16_384])
async def test_a_header_of_16_kib_is_taken(port: Port, size: int) -> None:
    """As much as is kept of a handshake fits into one cookie."""
    answer = await port.exchange(request("GET", "/livez", "Cookie: " + "c" * size))
    assert status_of(answer) == 200
    assert answer.endswith(b"%d\n" % size)


async def test_a_path_of_16_kib_is_taken(port: Port) -> None:
    """Clients may have a token in it."""
    path = "/livez?token=".ljust(MAX_REQUEST_LINE_BYTES, "t")
    assert status_of(await port.exchange(request("GET", path))) == 200


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (request("GET", "/livez", f"Cookie: {SECRET}" + "c" * 17_000), 431, b"a header has more"),
        (request("GET", f"/livez?token={SECRET}" + "t" * 17_000), 414, b"the path has more"),
        (
            request("GET", "/livez", *(f"X-{n}: {SECRET}" for n in range(MAX_HEADERS + 1))),
            431,
            b"more than 128 headers",
        ),
        (b"GET /livez HTTP/1.1\r\nCookie: %b\r\n\r\n" % SECRET.encode(), 400, b"Host is missing"),
        (b"%b\r\n\r\n" % SECRET.encode(), 400, b"does not begin with a method"),
        (request("GET", f"/livez?token={SECRET}", SECRET), 400, b""),
        (request("GET", f"/livez?token={SECRET}", f"{SECRET} x: y"), 400, b""),
        (request("GET", f"/livez?token={SECRET}", f"X: {SECRET}\0"), 400, b""),
        (b"GET /livez?token=%b HTTP/9.9\r\nHost: x\r\n\r\n" % SECRET.encode(), 400, b""),
        (request("GET", "/livez", f"Content-Length: {SECRET}"), 400, b""),
        (request("POST", "/api", "Expect: " + SECRET, body=b"{}"), 401, b""),
    ],
    ids=[
        "a long header",
        "a long path",
        "many headers",
        "no host",
        "no http",
        "a header without a colon",
        "a blank in a name",
        "a null byte",
        "an unknown version",
        "a length that is none",
        "an unknown expectation",
    ],
)
async def test_a_broken_request_leaves_nothing_of_itself(
    port: Port, caplog: pytest.LogCaptureFixture, data: bytes, status: int, text: bytes
) -> None:
    """It is answered and logged by what is wrong with it: one line, and no value that was sent."""
    caplog.set_level(logging.DEBUG)
    answer = await port.exchange(data)
    assert status_of(answer) == status
    assert text in answer
    assert SECRET.encode() not in answer
    lines = [record for record in caplog.records if record.name != "asyncio"]
    assert len(lines) == (status != 401)
    assert all(line.levelno <= logging.INFO and line.exc_info is None for line in lines)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("key", [KEY, "guessed"])
@pytest.mark.parametrize(
    "broken",
    [b"2\r\n{}\r\n" + SECRET.encode() + b"\r\n", b"2\r\n{" + SECRET.encode() * 2],
    ids=["no chunk", "chunk too long"],
)
async def test_a_broken_body_leaves_nothing_of_itself(
    port: Port, caplog: pytest.LogCaptureFixture, key: str, broken: bytes
) -> None:
    """Its caller is told, or was refused before; it is an error of no handler of ours."""
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    writer.write(
        request(
            "POST",
            "/api",
            f"X-API-Key: {key}",
            "Expect: 100-continue",
            "Transfer-Encoding: chunked",
        )
    )
    first = await reader.readuntil(b"\r\n\r\n")
    assert status_of(first) == (100 if key == KEY else 401)
    writer.write(broken)
    if key == KEY:
        async with asyncio.timeout(10):
            rest = await reader.read()
        assert status_of(rest) == 400
        assert SECRET.encode() not in rest
    assert status_of(await port.exchange(request("GET", "/livez"))) == 200
    assert SECRET not in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)
    assert port.bodies == []
    writer.close()


@pytest.mark.parametrize(
    "before",
    [b"", request("GET", "/livez").replace(b"close", b"keep-alive")],
    ids=["first", "second"],
)
async def test_a_head_without_end_is_refused(port: Port, before: bytes) -> None:
    """Each header is short and there are few of them, but together they are too long."""
    headers = [b"X-%d: %b\r\n" % (n, b"x" * 1_000) for n in range(MAX_HEADERS)]
    assert sum(map(len, headers)) > MAX_HEAD_BYTES
    pieces = [before, b"GET /livez HTTP/1.1\r\nHost: node\r\n", *headers]
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    if before:
        writer.write(before)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.readline()
    for piece in pieces[1:]:
        writer.write(piece)
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        assert status_of(await reader.read()) == 431
    assert port.refused("too_large") == 1
    writer.close()


async def test_a_long_body_is_no_head(port: Port) -> None:
    """The bound of heads does not count bodies."""
    answer = await port.exchange(request("POST", "/api"), b"")
    assert status_of(answer) == 401
    body = b"x" * (4 * MAX_HEAD_BYTES)
    answer = await port.exchange(
        request("POST", "/api", body=body).replace(b"close", b"keep-alive")
        + request("GET", "/livez")
    )
    assert [answer.count(b"HTTP/1.1 401 "), answer.count(b"HTTP/1.1 200 ")] == [1, 1]


async def test_many_broken_requests_are_a_few_lines(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """All are counted."""
    caplog.set_level(logging.INFO)
    for _ in range(3 * LINES_PER_PERIOD):
        await port.exchange(b"garbage\r\n\r\n")
    assert port.refused("malformed") == 3 * LINES_PER_PERIOD
    assert 1 <= len(caplog.records) <= 2 * LINES_PER_PERIOD
