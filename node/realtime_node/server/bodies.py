"""Bodies of requests, read up to a bound: of the HTTP API, and of the internal one."""

from __future__ import annotations

from aiohttp import web

from realtime_node.server.http_protocol import ask_for_body


async def read_body(request: web.Request, limit: int) -> bytes | None:
    """Return the body, or None as soon as it is known to have more than `limit` bytes.

    aiohttp's own limit raises with all that it had read in its hands, which stays in memory until
    the collector comes by.
    """
    if request.content_length is not None and request.content_length > limit:
        return None
    await ask_for_body(request)
    if request.content_length is not None:
        return await request.read()
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
