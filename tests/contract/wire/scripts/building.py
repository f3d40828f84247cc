"""Short names for what conversations are made of."""

from __future__ import annotations

from typing import Any

from tests.contract.wire.conversation import AnyStep, Call, Conversation, Send
from tests.contract.wire.servers import IMPATIENT, INSECURE, LIMITED, SECURED


def secured(name: str, about: str, *steps: AnyStep) -> Conversation:
    """Make a conversation with a server that checks tokens and permissions."""
    return Conversation(name=name, about=about, server=SECURED, steps=list(steps))


def insecure(name: str, about: str, *steps: AnyStep) -> Conversation:
    """Make a conversation with a server in insecure mode: anybody may connect and subscribe."""
    return Conversation(name=name, about=about, server=INSECURE, steps=list(steps))


def limited(name: str, about: str, *steps: AnyStep) -> Conversation:
    """Make a conversation with a server that allows little, and checks tokens and permissions."""
    return Conversation(name=name, about=about, server=LIMITED, steps=list(steps))


def impatient(name: str, about: str, *steps: AnyStep) -> Conversation:
    """Make a conversation with an insecure server that waits for nobody longer than a second."""
    return Conversation(name=name, about=about, server=IMPATIENT, steps=list(steps))


def command(number: int, method: str, /, **request: Any) -> dict[str, Any]:
    """Make a command."""
    return {"id": number, method: request}


def send(on: str, number: int, method: str, /, **request: Any) -> Send:
    """Send one command on connection `on`."""
    return Send(on=on, commands=[command(number, method, **request)])


def signed(
    lifetime_s: float | None = None, *, forged: bool = False, **claims: Any
) -> dict[str, Any]:
    """Stand for a token with these claims; `forged` is signed with a secret nobody knows."""
    how = {"forged": forged, "lifetime_s": lifetime_s}
    return {"$token": claims, **{key: value for key, value in how.items() if value}}


def connect(on: str, number: int = 1, *, user: str | None = None, **request: Any) -> Send:
    """Connect with a token of `user`, or with what `request` says."""
    if user is not None:
        request["token"] = signed(sub=user)
    return send(on, number, "connect", **request)


def subscribe(on: str, number: int, channel: str, **request: Any) -> Send:
    """Subscribe."""
    return send(on, number, "subscribe", channel=channel, **request)


def probe(on: str, number: int) -> Send:
    """Show that connection `on` is served: a call that nobody handles is answered at once."""
    return send(on, number, "rpc", method="probe")


def call(method: str, /, **body: Any) -> Call:
    """Call the HTTP API."""
    return Call(method=method, body=body)


def publish(channel: str, data: Any, **body: Any) -> Call:
    """Publish through the HTTP API."""
    return call("publish", channel=channel, data=data, **body)
