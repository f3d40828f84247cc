"""Conversations with a server: what is said, what came back, and how one is compared with another.

A conversation is a list of steps on named connections and on the HTTP API. Played against a server,
it becomes a transcript: after each step, what arrived on every connection until then. What differs
from run to run by nature (ids, epochs, times, versions) is replaced by a placeholder, the same one
wherever the same value comes again, so that transcripts of servers that mean the same are equal.

What a transcript leaves open: how messages are spread over frames, the order of keys in an object,
and how the streams of a step that is marked `interleaved` mix.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tests.support.conditions import NEVER_S
from tests.support.tokens import OTHER_SECRET, SECRET, token
from tests.support.wire_client import Refused, WireClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from tests.support.node_process import NodeProcess

API_KEY = "golden-key"

# --- What is said -------------------------------------------------------------------------------


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="do"):
    """Something done to the server."""

    interleaved: bool = False
    """Whether replies, and the pushes of each channel, keep an order only among themselves. The
    protocol promises no more where several commands or channels are at work at once."""


class Open(Step, frozen=True, tag="open"):
    """Open connection `on` with this handshake. Other steps open theirs as they need them."""

    on: str
    headers: dict[str, str] = {}
    subprotocols: list[str] = []


class Send(Step, frozen=True, tag="send"):
    """Send these commands in one frame."""

    on: str
    commands: list[dict[str, Any]]


class SendText(Step, frozen=True, tag="send_text"):
    """Send this text as one frame."""

    on: str
    text: str


class Wait(Step, frozen=True, tag="wait"):
    """Do nothing until something comes on connection `on`, or leave its pings unanswered."""

    on: str
    answer_pings: bool = True


class Drop(Step, frozen=True, tag="drop"):
    """Let connection `on` vanish without a close frame."""

    on: str


class Call(Step, frozen=True, tag="call"):
    """Call the HTTP API. `text` is sent as it is in place of the JSON `body`."""

    method: str
    body: Any = {}
    text: str | None = None
    verb: str = "POST"
    headers: dict[str, str] = msgspec.field(default_factory=lambda: {"X-API-Key": API_KEY})


AnyStep = Open | Send | SendText | Wait | Drop | Call


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Steps to play, in order, against a server with the settings called `server`."""

    name: str
    about: str
    server: str
    steps: list[AnyStep]


# --- What came back -----------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The HTTP API's answer; `body` only where it is JSON."""

    status: int
    body: Any = None


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step, and what followed it on the HTTP API and on every connection."""

    step: AnyStep
    answer: Answer | None = None
    received: dict[str, list[Any]] = {}


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that was played."""

    name: str
    about: str
    server: str
    exchanges: list[Exchange]

    @property
    def conversation(self) -> Conversation:
        """What was said, to say it again."""
        return Conversation(
            name=self.name,
            about=self.about,
            server=self.server,
            steps=[exchange.step for exchange in self.exchanges],
        )


# --- Placeholders -------------------------------------------------------------------------------

# Fields whose value belongs to a server, a run or a moment; `ttl` counts seconds from now.
_VARIES: dict[str, tuple[type, str]] = {
    "version": (str, "<version>"),
    "node": (str, "<node>"),
    "session": (str, "<session>"),
    "ttl": (int, "<seconds>"),
    "time": (int, "<time>"),
}
# In the list of nodes also these; what a process counts depends on what was played before.
_VARIES_IN_INFO: dict[str, tuple[type, str]] = {
    "uid": (str, "<uid>"),
    "name": (str, "<name>"),
    "version": (str, "<version>"),
    "uptime": (int, "<count>"),
    "num_clients": (int, "<count>"),
    "num_users": (int, "<count>"),
    "num_subs": (int, "<count>"),
    "num_channels": (int, "<count>"),
    "metrics": (dict, "<metrics>"),
}


class Placeholders:
    """The values behind the placeholders of one run."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._placeholder_by_value: dict[str, str] = {}
        self._value_by_placeholder: dict[str, str] = {}

    def hide(self, message: Any, *, connection: str = "") -> Any:
        """Replace in a message from the server what varies; learn ids and epochs from it."""
        match message:
            case {"connect": {"client": str(client), **_result}} if connection:
                self._bind(client, f"<client:{connection}>")
        return self._hide(message, _VARIES)

    def fill(self, message: Any) -> Any:
        """Put real values and signed tokens into a message for the server."""
        match message:
            case {"$token": dict(claims)}:
                secret = OTHER_SECRET if message.get("forged") else SECRET
                lifetime_s = message.get("lifetime_s")
                return token(secret=secret, lifetime_s=lifetime_s, **self.fill(claims))
            case dict():
                return {key: self.fill(value) for key, value in message.items()}
            case list():
                return [self.fill(item) for item in message]
            case str():
                return self._value_by_placeholder.get(message, message)
        return message

    def _hide(self, value: Any, varies: dict[str, tuple[type, str]]) -> Any:
        match value:
            case dict():
                return {
                    self._placeholder_by_value.get(key, key): self._hide_field(key, inner, varies)
                    for key, inner in value.items()
                }
            case list():
                return [self._hide(item, varies) for item in value]
            case str():
                return self._placeholder_by_value.get(value, value)
        return value

    def _hide_field(self, key: str, value: Any, varies: dict[str, tuple[type, str]]) -> Any:
        if key == "epoch" and isinstance(value, str) and value:
            epochs = [name for name in self._value_by_placeholder if name.startswith("<epoch:")]
            return self._bind(value, f"<epoch:{len(epochs) + 1}>")
        if key == "nodes":
            return self._hide(value, _VARIES_IN_INFO)
        if key in varies:
            kind, placeholder = varies[key]
            if isinstance(value, kind) and (value or placeholder == "<count>"):
                return placeholder
        return self._hide(value, varies)

    def _bind(self, value: str, placeholder: str) -> str:
        bound = self._placeholder_by_value.setdefault(value, placeholder)
        self._value_by_placeholder.setdefault(bound, value)
        return bound


# --- Playing ------------------------------------------------------------------------------------

# How long a recorded server must be silent before the next step.
_QUIET_S = 0.15
# How long a played server has for what the recorded one did.
_DEADLINE_S = NEVER_S
# How long a connection that never came about is watched at the end.
_GRACE_S = 0.1
# An id that no conversation uses: the reply to it comes after everything the server has to say.
_BARRIER_ID = 4_000_000_000


class Player:
    """Plays one conversation against one server."""

    def __init__(self, server: NodeProcess) -> None:
        """Play against `server`."""
        self._server = server
        self._placeholders = Placeholders()
        self._connections: dict[str, WireClient] = {}
        self._connected: set[str] = set()

    async def record(self, conversation: Conversation) -> Transcript:
        """Play and write down whatever comes until the server is silent after each step."""
        return await self._play(conversation, lambda _: self._silence())

    async def replay(
        self, golden: Transcript, silent: Collection[tuple[int, str]] = ()
    ) -> Transcript:
        """Play what `golden` says, waiting after each step for as much as came there.

        What comes beyond that counts as well: each connection is asked something after each step,
        and all that comes before the answer belongs to the step. `silent` are steps, from 1, after
        which the server is meant to say nothing to a connection: nothing is waited for there.
        """

        async def settle(index: int) -> None:
            for name, messages in golden.exchanges[index].received.items():
                if name in self._connections and (index + 1, name) not in silent:
                    await self._connections[name].has(len(messages), within_s=_DEADLINE_S)
            is_last = index == len(golden.exchanges) - 1
            for name, client in self._connections.items():
                await self._read_on(client, connected=name in self._connected, is_last=is_last)

        return await self._play(golden.conversation, settle)

    async def _play(
        self, conversation: Conversation, settle: Callable[[int], Awaitable[None]]
    ) -> Transcript:
        exchanges = []
        try:
            for index, step in enumerate(conversation.steps):
                refused = await self._open_for(step)
                answer = None if refused else await self._do(step)
                await settle(index)
                received = {**refused, **self._collect()}
                exchanges.append(Exchange(step=step, answer=answer, received=received))
        finally:
            await asyncio.gather(*(client.close() for client in self._connections.values()))
        return Transcript(
            name=conversation.name,
            about=conversation.about,
            server=conversation.server,
            exchanges=exchanges,
        )

    async def _open_for(self, step: AnyStep) -> dict[str, list[Any]]:
        if isinstance(step, Call) or step.on in self._connections:
            return {}
        handshake = step if isinstance(step, Open) else Open(on=step.on)
        try:
            self._connections[step.on] = await WireClient.open(
                self._server.websocket_url,
                headers=handshake.headers,
                subprotocols=handshake.subprotocols,
            )
        except Refused as refusal:
            return {step.on: [{"refused": refusal.status}]}
        return {}

    async def _do(self, step: AnyStep) -> Answer | None:
        match step:
            case Send(on=on, commands=commands):
                await self._connections[on].send(*self._placeholders.fill(commands))
            case SendText(on=on, text=text):
                await self._connections[on].send_text(text)
            case Wait(on=on, answer_pings=answer_pings):
                self._connections[on].answers_pings = answer_pings
                await self._connections[on].has(1, within_s=_DEADLINE_S)
            case Drop(on=on):
                await self._connections.pop(on).drop()
            case Call():
                return await self._call(step)
        return None

    async def _call(self, step: Call) -> Answer:
        body = step.text.encode() if step.text is not None else None
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                step.verb,
                f"{self._server.http_url}/api/{step.method}",
                data=body or msgspec.json.encode(self._placeholders.fill(step.body)),
                headers={"Content-Type": "application/json", **step.headers},
                timeout=aiohttp.ClientTimeout(total=_DEADLINE_S),
            ) as answer,
        ):
            if answer.content_type != "application/json":
                return Answer(status=answer.status)
            received = msgspec.json.decode(await answer.read())
            return Answer(status=answer.status, body=self._placeholders.hide(received))

    async def _silence(self) -> None:
        heard = -1
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < _QUIET_S:
            await asyncio.sleep(0.01)
            count = sum(len(client.inbox) for client in self._connections.values())
            if count != heard:
                heard, quiet_since = count, time.monotonic()

    async def _read_on(self, client: WireClient, *, connected: bool, is_last: bool) -> None:
        """Wait for what comes unexpectedly."""
        if client.closed:
            return
        if connected:
            await client.call({"id": _BARRIER_ID, "rpc": {"method": "barrier"}})
        elif is_last:
            # It cannot ask anything, so there is no answer to wait for.
            await asyncio.sleep(_GRACE_S)

    def _collect(self) -> dict[str, list[Any]]:
        received = {}
        for name, client in self._connections.items():
            if client.inbox:
                received[name] = [
                    self._placeholders.hide(message, connection=name) for message in client.inbox
                ]
                if any("connect" in message for message in client.inbox):
                    self._connected.add(name)
                client.inbox.clear()
        return received
