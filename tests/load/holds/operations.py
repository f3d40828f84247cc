"""What clients and callers of the API can ask of a node, each at its largest: how long is it held?

Each operation makes a node and its clients, which is not watched, and then watches the loop from
the request until all of it is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from realtime_node.config import Settings
from tests.load.holds import members
from tests.load.holds.backend import FIRST_CODE, running
from tests.load.holds.lab import CHANNELS, Lab, RunningNode, hold_of, token, until
from tests.load.holds.members import Command, Member, connecting, subscribing
from tests.load.holds.watch import Hold

PRESENT: Final = 20_000
LISTED: Final = 10_000  # `client.presence_max_clients`; more are refused
SOCKETS: Final = 10_000
TOLD_IN_MEMORY: Final = 40_000
SLOW: Final = 10_000
USERS: Final = 10_000
CODES: Final = 5_000
BATCH: Final = 10_000
SERVER_SIDE: Final = 128
HISTORY: Final = 10_000
RECOVERED: Final = 2_000
COMMANDS: Final = 2_000

_LARGEST_BODY: Final = 16 * 1024 * 1024  # of the API of an older node, which cannot be set
_KIB: Final = "x" * 1_000
_HISTORY_OPTIONS: Final = {
    **CHANNELS,
    "history_size": HISTORY,
    "history_ttl": "600s",
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
    "allow_recovery": True,
    "force_positioning": True,
}
_PRESENCE_OPTIONS: Final = {
    **CHANNELS,
    "presence": True,
    "allow_presence_for_client": True,
    "allow_presence_for_anonymous": True,
}


@dataclass(frozen=True)
class Operation:
    """One row of the table."""

    title: str
    run: Callable[[Lab], Awaitable[Hold]]


def _channel(**options: Any) -> dict[str, Any]:
    return {"without_namespace": options}


async def _subscribed(
    node: RunningNode, count: int, channel: str, *, user: Callable[[int], str] = lambda _: ""
) -> list[Member]:
    def commands(number: int) -> Sequence[Command]:
        name = user(number)
        return connecting(token(name) if name else ""), subscribing(channel)

    return await members.join(node.node, count, commands)


# --- presence -------------------------------------------------------------------------------------


async def _present(
    lab: Lab, present: int, ask: Callable[[RunningNode, Member], Awaitable[Any]]
) -> Hold:
    async with lab.node(channel=_channel(**_PRESENCE_OPTIONS)) as node:
        count = lab.size(present)
        clients = await _subscribed(node, count, "presence", user=lambda i: f"user-{i}")
        return await hold_of(ask(node, clients[0]))


async def presence(lab: Lab) -> Hold:
    """Ask the API for more than are listed."""
    return await _present(lab, PRESENT, lambda node, _: node.call("presence", channel="presence"))


async def presence_listed(lab: Lab) -> Hold:
    """List as many as are listed, through the API."""
    return await _present(lab, LISTED, lambda node, _: node.call("presence", channel="presence"))


async def presence_of_client(lab: Lab) -> Hold:
    """List as many for a client."""
    asked = {"id": 3, "presence": {"channel": "presence"}}
    return await _present(lab, LISTED, lambda _, client: client.ask(asked))


async def presence_stats(lab: Lab) -> Hold:
    """Count them through the API."""
    return await _present(
        lab, PRESENT, lambda node, _: node.call("presence_stats", channel="presence")
    )


# --- delivery -------------------------------------------------------------------------------------


async def loss(lab: Lab) -> Hold:
    """Tell all members of a channel that the store lost some of it."""
    async with (
        lab.node(channel=_channel(**_HISTORY_OPTIONS)) as node,
        node.sockets(lab.tools, lab.size(SOCKETS), "loss"),
    ):
        await _subscribed(node, lab.size(TOLD_IN_MEMORY), "loss")
        hub = node.node._hub

        async def lose() -> None:
            hub.lost(0, ["loss"])

        return await hold_of(lose(), lambda: not hub.num_channels)


async def _slowed(lab: Lab, node: RunningNode) -> Callable[[], Awaitable[None]]:
    """Let anonymous clients take nothing any more; return what ends them all at once."""
    slow = await _subscribed(node, lab.size(SLOW), "slow")
    for client in slow:
        client.transport.is_stalled = True

    async def close() -> None:
        # The first fills what is on the way to each, the second waits until it is too old.
        for _ in range(2):
            await node.call("publish", channel="slow", data="x" * 100_000)

    return close


_SLOW_SETTINGS: Final = {
    "channel": _channel(
        **_HISTORY_OPTIONS, slow_client={"policy": "queue", "max_age": "1s", "max_bytes": 1_000_000}
    ),
}


async def slow_clients(lab: Lab) -> Hold:
    """Close clients that became too slow in one moment."""
    async with lab.node(**_SLOW_SETTINGS) as node:
        close = await _slowed(lab, node)
        # Who takes nothing is cut off when the close frame was not taken either.
        websockets = node.node._websockets
        return await hold_of(close(), lambda: not websockets.num_connections)


async def recoveries(lab: Lab) -> Hold:
    """Let anonymous clients recover, after as many were closed for being slow."""
    async with lab.node(**_SLOW_SETTINGS) as node:
        published = await node.call("publish", channel="other", data=1)
        epoch = msgspec.json.decode(published)["result"]["epoch"]
        await (await _slowed(lab, node))()
        websockets = node.node._websockets
        await until(lambda: not websockets.num_connections)
        back = await members.join(node.node, lab.size(SLOW), lambda _: (connecting(),))
        recover = subscribing("other", recover=True, epoch=epoch, offset=0)
        return await hold_of(members.ask_all(back, ((recover,) for _ in back)))


# --- what the API does with connections -----------------------------------------------------------


async def disconnect_user(lab: Lab) -> Hold:
    """Close all connections of one user."""
    async with (
        lab.node() as node,
        node.sockets(lab.tools, lab.size(SOCKETS), "sockets", user="one"),
    ):
        registry = node.node._registry
        return await hold_of(node.call("disconnect", user="one"), lambda: not registry.num_clients)


async def disconnect_users(lab: Lab) -> Hold:
    """Close one connection each of many users, in one batch."""
    async with lab.node() as node:
        count = lab.size(USERS)
        await _subscribed(node, count, "users", user=lambda i: f"user-{i}")
        commands = [{"disconnect": {"user": f"user-{i}"}} for i in range(count)]
        registry = node.node._registry
        return await hold_of(
            node.call("batch", commands=commands, parallel=True), lambda: not registry.num_clients
        )


async def unsubscribe_user(lab: Lab) -> Hold:
    """End a subscription of all connections of one user."""
    async with lab.node() as node:
        await _subscribed(node, lab.size(USERS), "left", user=lambda _: "one")
        hub = node.node._hub
        return await hold_of(
            node.call("unsubscribe", user="one", channel="left"), lambda: not hub.num_channels
        )


async def subscribe_user(lab: Lab) -> Hold:
    """Subscribe all connections of one user."""
    async with lab.node() as node:
        clients = await members.join(
            node.node, lab.size(USERS), lambda _: (connecting(token("one")),)
        )

        return await hold_of(
            node.call("subscribe", user="one", channel="given"),
            lambda: all(client.transport.frames > 2 for client in (clients[0], clients[-1])),
            lambda: sum(client.transport.frames > 2 for client in clients) == len(clients),
        )


# --- codes and settings ---------------------------------------------------------------------------


async def scrape(lab: Lab) -> Hold:
    """Have the backend answer with as many codes, and read the metrics."""
    async with running() as endpoint:
        settings = {
            "client": {"command_rate": 0},
            "rpc": {
                "proxy": {"endpoint": endpoint, "max_concurrency": 64},
                "without_namespace": {"proxy_enabled": True},
            },
        }
        async with lab.node(**settings) as node:
            (client,) = await members.join(node.node, 1, lambda _: (connecting(),))
            for code in range(FIRST_CODE, FIRST_CODE + lab.size(CODES)):
                await client.ask({"id": code, "rpc": {"method": str(code), "data": {}}})
            return await hold_of(node.get("/metrics"))


async def reload(lab: Lab) -> Hold:
    """Change rules, limits and the rate of commands under clients."""
    async with lab.node(channel=_channel(**CHANNELS)) as node:
        count = lab.size(USERS)
        for start in range(0, count, count // 10 or 1):
            # A tenth of them in a channel: both kinds of walk have something to do.
            part = min(count // 10 or 1, count - start)
            await _subscribed(node, part, f"channel-{start}", user=lambda i: f"user-{i}")
        changes = {
            "client": {**node.settings["client"], "command_rate": 400, "command_burst": 1_500},
            "channel": _channel(**_HISTORY_OPTIONS),
        }
        return await hold_of(node.reload(**changes))


async def reload_namespace(lab: Lab) -> Hold:
    """Take a namespace away that clients are subscribed in."""
    gone = {"name": "gone", **CHANNELS}
    async with lab.node(channel={**_channel(**CHANNELS), "namespaces": [gone]}) as node:
        await _subscribed(node, lab.size(USERS), "gone:channel", user=lambda i: f"user-{i}")
        hub = node.node._hub
        return await hold_of(
            node.reload(channel=_channel(**CHANNELS)), lambda: not hub.num_channels
        )


# --- much at once ---------------------------------------------------------------------------------


async def _with_history(node: RunningNode, count: int, channel: str) -> str:
    """Publish so often 1 KB; return the stream's epoch."""
    for start in range(1, count, 1_000):
        part = min(1_000, count - start)
        commands = [{"publish": {"channel": channel, "data": _KIB}}] * part
        await node.call("batch", commands=commands)
    last = msgspec.json.decode(await node.call("publish", channel=channel, data=_KIB))
    epoch: str = last["result"]["epoch"]
    return epoch


async def history(lab: Lab) -> Hold:
    """Read a whole history through the API."""
    async with lab.node(channel=_channel(**_HISTORY_OPTIONS)) as node:
        await _with_history(node, lab.size(HISTORY), "history")
        return await hold_of(node.call("history", channel="history", limit=-1))


async def history_of_client(lab: Lab) -> Hold:
    """Read as much of a history as one reply holds."""
    async with lab.node(channel=_channel(**_HISTORY_OPTIONS)) as node:
        await _with_history(node, lab.size(HISTORY), "history")
        (client,) = await members.join(node.node, 1, lambda _: (connecting(),))
        return await hold_of(client.ask({"id": 3, "history": {"channel": "history", "limit": -1}}))


async def recovery(lab: Lab) -> Hold:
    """Recover as many publications as a client is given."""
    async with lab.node(channel=_channel(**_HISTORY_OPTIONS)) as node:
        epoch = await _with_history(node, lab.size(RECOVERED), "history")
        (client,) = await members.join(node.node, 1, lambda _: (connecting(),))
        command = subscribing("history", recover=True, epoch=epoch, offset=0)
        return await hold_of(client.ask(command))


async def batch(lab: Lab) -> Hold:
    """Publish with the largest body that the API takes."""
    async with lab.node() as node:
        count = lab.size(BATCH)
        body_bytes = getattr(Settings().http_api, "body_size_limit", _LARGEST_BODY)
        data = "x" * (body_bytes // BATCH - 100)
        commands = [
            {"publish": {"channel": f"batch-{number}", "data": data}} for number in range(count)
        ]
        body = msgspec.json.encode({"commands": commands})
        return await hold_of(node.post("/api/batch", body))


async def broadcast(lab: Lab) -> Hold:
    """Publish into as many channels as one call may name, each with a member."""
    async with lab.node(client={"channel_limit": 1_000}) as node:
        count = lab.size(BATCH)
        await members.join(node.node, count, lambda i: (connecting(), subscribing(f"channel-{i}")))
        names = [f"channel-{number}" for number in range(count)]
        return await hold_of(node.call("broadcast", channels=names, data=_KIB))


async def connect(lab: Lab) -> Hold:
    """Connect clients with as many server-side subscriptions as each may have."""
    async with lab.node() as node:
        channels = [f"given-{number}" for number in range(SERVER_SIDE)]
        client = Member(node.node)
        command = connecting(token("one", channels=channels))
        return await hold_of(client.ask(command))


async def commands(lab: Lab) -> Hold:
    """Answer as many commands as a client may send at once."""
    async with lab.node(websocket={"message_size_limit": 1_000_000}) as node:
        (client,) = await members.join(node.node, 1, lambda _: (connecting(),))
        count = lab.size(COMMANDS) - 1
        sent = [
            {"id": number, "unsubscribe": {"channel": "none"}} for number in range(2, 2 + count)
        ]
        return await hold_of(client.ask(*sent, frames=count))


OPERATIONS: Final[dict[str, Operation]] = {
    "presence": Operation(
        f"presence of {PRESENT:,} clients: refused beyond {LISTED:,} by default", presence
    ),
    "presence-listed": Operation(f"presence of {LISTED:,} clients, API", presence_listed),
    "presence-client": Operation(f"presence of {LISTED:,} clients, command", presence_of_client),
    "presence-stats": Operation(f"presence_stats of {PRESENT:,} clients", presence_stats),
    "loss": Operation(f"a loss told to {SOCKETS + TOLD_IN_MEMORY:,} members", loss),
    "slow-close": Operation(f"{SLOW:,} slow clients closed in one moment", slow_clients),
    "slow-recover": Operation(
        f"{SLOW:,} anonymous clients recover after {SLOW:,} were slow", recoveries
    ),
    "disconnect": Operation(f"disconnect of a user with {SOCKETS:,} connections", disconnect_user),
    "disconnect-batch": Operation(f"disconnect of {USERS:,} users, one batch", disconnect_users),
    "unsubscribe": Operation(f"unsubscribe of a user with {USERS:,} connections", unsubscribe_user),
    "subscribe": Operation(f"subscribe of a user with {USERS:,} connections", subscribe_user),
    "scrape": Operation(f"a scrape after {CODES:,} error codes of a backend", scrape),
    "reload": Operation(f"settings reloaded under {USERS:,} sessions", reload),
    "reload-namespace": Operation(
        f"a namespace taken away under {USERS:,} subscriptions", reload_namespace
    ),
    "history": Operation(f"history of {HISTORY:,} publications of 1 KB, API", history),
    "history-client": Operation("history of 300 publications of 1 KB, command", history_of_client),
    "recovery": Operation(f"recovery of {RECOVERED:,} publications of 1 KB", recovery),
    "batch": Operation(f"batch of {BATCH:,} publishes in the largest body", batch),
    "broadcast": Operation(f"broadcast into {BATCH:,} channels with a member each", broadcast),
    "connect": Operation(f"connect with {SERVER_SIDE} server-side subscriptions", connect),
    "commands": Operation(f"{COMMANDS:,} commands of one client at once", commands),
}
"""By the name that `--only` takes."""
