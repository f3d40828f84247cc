"""Run by `helm test`: what a backend publishes through the Service reaches a client of it."""

import asyncio
import json
import os
import sys
import time
import urllib.request

import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

CHANNEL = "helm-test"
DEADLINE_S = 60.0
DATA = {"sent_at": time.time()}


async def receive(url: str, token: str, on_connected: asyncio.Event) -> None:
    """Connect, and return when the publication has come."""
    async with connect(url) as client:
        await client.send(json.dumps({"id": 1, "connect": {"token": token}}))
        async for frame in client:
            for message in map(json.loads, frame.splitlines()):
                if "error" in message:
                    raise ConnectionError(f"refused: {message['error']}")
                if message.get("id") == 1:
                    on_connected.set()
                elif not message:
                    await client.send("{}")
                elif message.get("push", {}).get("pub", {}).get("data") == DATA:
                    return
        raise ConnectionError(f"closed: {client.close_code} {client.close_reason}")


def publish(url: str, key: str) -> None:
    """Publish by the HTTP API, as a backend does."""
    body = json.dumps({"channel": CHANNEL, "data": DATA}).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/publish", body, headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - ours
        answer = json.load(response)
    if "error" in answer:
        raise ConnectionError(f"not published: {answer['error']}")


async def attempt() -> None:
    """Receive what is published."""
    claims = {"sub": "helm-test", "channels": [CHANNEL], "exp": int(time.time()) + 60}
    token = jwt.encode(claims, os.environ["TOKEN_HMAC_KEY"], algorithm="HS256")
    connected = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(receive(os.environ["CLIENT_URL"], token, connected))
        await connected.wait()
        await asyncio.to_thread(publish, os.environ["API_URL"], os.environ["API_KEY"])


async def main() -> int:
    """Return the exit status: 0 as soon as it worked, 1 if it did not in time."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            await attempt()
        except* (OSError, WebSocketException) as failed:
            problem = "; ".join(map(repr, failed.exceptions))
        else:
            print("a client received what was published")
            return 0
        if time.monotonic() > until:
            print(f"failed: {problem}", file=sys.stderr)
            return 1
        await asyncio.sleep(1)


sys.exit(asyncio.run(main()))
