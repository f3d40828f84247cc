"""The official SDKs behind one interface, so that one test holds for each.

Nothing of an SDK is changed or reached around: what a test can do here is what a user of the SDK
can do, and `events` is what such a user's handlers would have been called with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import centrifuge

from tests.support.conditions import NEVER_S, eventually
from tests.support.prerequisites import require

if TYPE_CHECKING:
    from collections.abc import Sequence

Event = dict[str, Any]

JS_DIRECTORY = Path(__file__).parents[2] / "js"


class CallError(Exception):
    """An SDK's call failed with this code of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        """Carry the error's code and message."""
        super().__init__(f"{code}: {message}")
        self.code = code


class SdkClient(Protocol):
    """One client of an SDK. All calls raise `CallError` where the node answers with an error."""

    events: list[Event]
    """In order. `event` is connected (client, data), connecting (code), disconnected (code,
    reason), subscribed (wasRecovering, recovered, recoverable, positioned, data), unsubscribed
    (code), publication (data, offset, tags, info), join (user) or leave (user); most have a
    `channel`."""

    async def connect(
        self, url: str, token: str, *, next_tokens: Sequence[str] = (), session: str | None = None
    ) -> None:
        """Connect; `next_tokens` are what the application's backend gives when it is asked.

        With a `session` it asks for that one (`new`: a new one), and from then on for the one that
        it was given, as docs/sessions.md tells applications to do it.
        """

    async def subscribe(
        self, channel: str, *, token: str = "", next_tokens: Sequence[str] = ()
    ) -> None:
        """Subscribe and return once the node has confirmed it; `next_tokens` as in `connect`."""

    async def unsubscribe(self, channel: str) -> None:
        """Leave a channel."""

    async def publish(self, channel: str, data: Any) -> None:
        """Publish."""

    async def history(
        self,
        channel: str,
        *,
        limit: int,
        since: dict[str, Any] | None = None,
        reverse: bool = False,
    ) -> dict[str, Any]:
        """Return `publications`, `offset` and `epoch`."""

    async def presence(self, channel: str) -> list[str]:
        """Return the users of all subscribers, in order."""

    async def presence_stats(self, channel: str) -> dict[str, int]:
        """Return how many `clients` and `users` there are."""

    async def close(self) -> None:
        """Disconnect and let go of everything."""


def of_kind(client: SdkClient, event: str, channel: str | None = None) -> list[Event]:
    """Return the client's events of one kind, of one channel if it is given."""
    return [
        entry
        for entry in client.events
        if entry["event"] == event and (channel is None or entry["channel"] == channel)
    ]


def heard(client: SdkClient, channel: str) -> list[Any]:
    """Return the data of all publications that the client got in a channel, in order."""
    return [entry["data"] for entry in of_kind(client, "publication", channel)]


async def hears(
    client: SdkClient, channel: str, data: list[Any], *, within_s: float = NEVER_S
) -> None:
    """Wait until the client got as many publications, and assert that they are exactly these."""
    with contextlib.suppress(AssertionError):
        await eventually(lambda: len(heard(client, channel)) >= len(data), within_s=within_s)
    assert heard(client, channel) == data


class PythonSdk:
    """centrifuge-python."""

    def __init__(self) -> None:
        """Not connected yet."""
        self.events: list[Event] = []
        self._client: centrifuge.Client | None = None

    @property
    def client(self) -> centrifuge.Client:
        """The SDK's object. Raises AssertionError before `connect`."""
        assert self._client is not None, "connect first"
        return self._client

    async def connect(
        self, url: str, token: str, *, next_tokens: Sequence[str] = (), session: str | None = None
    ) -> None:
        """Connect."""
        data = None if session is None else {"session": session}
        tokens = iter(next_tokens)

        async def get_token() -> str:
            return next(tokens)

        self._client = centrifuge.Client(
            url,
            events=_ClientEvents(self.events, data),
            token=token,
            data=data,
            get_token=get_token if next_tokens else None,
            max_reconnect_delay=1.0,
            proxy=None,
        )
        await self._client.connect()
        await self._client.ready()

    async def subscribe(
        self, channel: str, *, token: str = "", next_tokens: Sequence[str] = ()
    ) -> None:
        """Subscribe."""
        tokens = iter(next_tokens)

        async def get_token(_: str) -> str:
            return next(tokens)

        subscription = self.client.new_subscription(
            channel,
            events=_SubscriptionEvents(channel, self.events),
            token=token,
            get_token=get_token if next_tokens else None,
        )
        await subscription.subscribe()
        await subscription.ready()

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe."""
        subscription = self.client.get_subscription(channel)
        assert subscription is not None, f"not subscribed to {channel}"
        await subscription.unsubscribe()

    async def publish(self, channel: str, data: Any) -> None:
        """Publish."""
        with _call_errors():
            await self.client.publish(channel, data)

    async def history(
        self,
        channel: str,
        *,
        limit: int,
        since: dict[str, Any] | None = None,
        reverse: bool = False,
    ) -> dict[str, Any]:
        """Read history."""
        position = centrifuge.StreamPosition(**since) if since else None
        with _call_errors():
            result = await self.client.history(channel, limit, position, reverse)
        return {
            "publications": [_publication(channel, pub) for pub in result.publications],
            "offset": result.offset,
            "epoch": result.epoch,
        }

    async def presence(self, channel: str) -> list[str]:
        """Ask for presence."""
        with _call_errors():
            result = await self.client.presence(channel)
        return sorted(info.user for info in result.clients.values())

    async def presence_stats(self, channel: str) -> dict[str, int]:
        """Ask for statistics."""
        with _call_errors():
            result = await self.client.presence_stats(channel)
        return {"clients": result.num_clients, "users": result.num_users}

    async def close(self) -> None:
        """Disconnect."""
        if self._client is None:
            return
        connection = self._client._conn
        await self._client.disconnect()
        if connection is not None:
            # The SDK leaves this to the background, which ends with the test.
            await connection.wait_closed()


class JavaScriptSdk:
    """centrifuge of npm in a Node.js process of its own, driven over a pipe by `client.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Use `start`."""
        self.events: list[Event] = []
        self._process = process
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Self:
        """Start the process. Skips the test where Node.js or the SDK is missing."""
        node = require("node", "apt-get install nodejs npm")
        require((JS_DIRECTORY / "node_modules" / "centrifuge").is_dir(), "make setup")
        process = await asyncio.create_subprocess_exec(
            node,
            str(JS_DIRECTORY / "client.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def connect(
        self, url: str, token: str, *, next_tokens: Sequence[str] = (), session: str | None = None
    ) -> None:
        """Connect."""
        options = {"url": url, "token": token, "nextTokens": list(next_tokens)}
        await self._call("connect", **options, session=session)

    async def subscribe(
        self, channel: str, *, token: str = "", next_tokens: Sequence[str] = ()
    ) -> None:
        """Subscribe."""
        options = {"channel": channel, "token": token, "nextTokens": list(next_tokens)}
        await self._call("subscribe", **options)

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe."""
        await self._call("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any) -> None:
        """Publish."""
        await self._call("publish", channel=channel, data=data)

    async def history(
        self,
        channel: str,
        *,
        limit: int,
        since: dict[str, Any] | None = None,
        reverse: bool = False,
    ) -> dict[str, Any]:
        """Read history."""
        options: dict[str, Any] = {"limit": limit, "reverse": reverse}
        if since:
            options["since"] = since
        result: dict[str, Any] = await self._call("history", channel=channel, **options)
        return result

    async def presence(self, channel: str) -> list[str]:
        """Ask for presence."""
        users: list[str] = await self._call("presence", channel=channel)
        return users

    async def presence_stats(self, channel: str) -> dict[str, int]:
        """Ask for statistics."""
        stats: dict[str, int] = await self._call("presenceStats", channel=channel)
        return stats

    async def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(NEVER_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _call(self, call: str, **options: Any) -> Any:
        number = len(self._calls) + 1
        self._calls[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "call": call, **options})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(NEVER_S):
            return await self._calls[number]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            match message:
                case {"id": number, "error": {"code": code, "message": text}}:
                    self._calls[number].set_exception(CallError(code, text))
                case {"id": number, "result": result}:
                    self._calls[number].set_result(result)
                case _:
                    self.events.append(message)


@contextlib.contextmanager
def _call_errors() -> Any:
    try:
        yield
    except centrifuge.ReplyError as error:
        raise CallError(error.code, str(error)) from error


def _publication(channel: str, pub: centrifuge.Publication) -> dict[str, Any]:
    info = {"client": pub.info.client, "user": pub.info.user} if pub.info else None
    data = {"data": pub.data, "offset": pub.offset, "tags": pub.tags or {}, "info": info}
    return {"channel": channel, **data}


def _subscribed(
    context: centrifuge.SubscribedContext | centrifuge.ServerSubscribedContext,
) -> dict[str, Any]:
    return {
        "channel": context.channel,
        "wasRecovering": context.was_recovering,
        "recovered": context.recovered,
        "recoverable": context.recoverable,
        "positioned": context.positioned,
        "data": context.data,
    }


class _ClientEvents(centrifuge.ClientEventHandler):  # type: ignore[misc] # the SDK is untyped
    """Writes down what happens to the client and its server-side subscriptions."""

    def __init__(self, events: list[Event], data: dict[str, str] | None) -> None:
        """`data` is what the client sends with every connect."""
        self._events = events
        self._data = data

    async def on_connecting(self, ctx: centrifuge.ConnectingContext) -> None:
        self._events.append({"event": "connecting", "code": ctx.code, "reason": ctx.reason})

    async def on_connected(self, ctx: centrifuge.ConnectedContext) -> None:
        if self._data is not None:
            self._data["session"] = ctx.data["session"]
        self._events.append({"event": "connected", "client": ctx.client, "data": ctx.data})

    async def on_disconnected(self, ctx: centrifuge.DisconnectedContext) -> None:
        self._events.append({"event": "disconnected", "code": ctx.code, "reason": ctx.reason})

    async def on_subscribed(self, ctx: centrifuge.ServerSubscribedContext) -> None:
        self._events.append({"event": "subscribed", **_subscribed(ctx)})

    async def on_unsubscribed(self, ctx: centrifuge.ServerUnsubscribedContext) -> None:
        self._events.append({"event": "unsubscribed", "channel": ctx.channel})

    async def on_publication(self, ctx: centrifuge.ServerPublicationContext) -> None:
        self._events.append({"event": "publication", **_publication(ctx.channel, ctx.pub)})


class _SubscriptionEvents(centrifuge.SubscriptionEventHandler):  # type: ignore[misc] # likewise
    """Writes down what happens to one subscription."""

    def __init__(self, channel: str, events: list[Event]) -> None:
        self._channel = channel
        self._events = events

    async def on_subscribing(self, ctx: centrifuge.SubscribingContext) -> None:
        self._add("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx: centrifuge.SubscribedContext) -> None:
        self._events.append({"event": "subscribed", **_subscribed(ctx)})

    async def on_unsubscribed(self, ctx: centrifuge.UnsubscribedContext) -> None:
        self._add("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: centrifuge.PublicationContext) -> None:
        self._events.append({"event": "publication", **_publication(self._channel, ctx.pub)})

    async def on_join(self, ctx: centrifuge.JoinContext) -> None:
        self._add("join", user=ctx.info.user)

    async def on_leave(self, ctx: centrifuge.LeaveContext) -> None:
        self._add("leave", user=ctx.info.user)

    def _add(self, event: str, **what: Any) -> None:
        self._events.append({"event": event, "channel": self._channel, **what})
