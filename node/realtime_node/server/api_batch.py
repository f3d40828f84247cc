"""Several commands in one call of the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from realtime_node.errors import BackplaneError, ReplyError
from realtime_node.protocol import codes
from realtime_node.server.api_cluster import Cluster
from realtime_node.server.api_messages import (
    BatchCommand,
    BatchReply,
    BatchRequest,
    BatchResult,
)
from realtime_node.server.api_methods import CONCURRENCY, METHODS
from realtime_node.server.api_payloads import error_body


async def batch(cluster: Cluster, request: BatchRequest) -> BatchResult:
    """Execute several commands; each has its own result or error."""
    replies: list[BatchReply] = []
    for group in _groups(request):
        replies += await asyncio.gather(*(_reply(cluster, command) for command in group))
    return BatchResult(replies=replies)


def _groups(request: BatchRequest) -> list[Sequence[BatchCommand]]:
    """Cut a batch into runs that may be on their way together.

    Publications leave in the order they were given over one connection, so a run of them keeps its
    order without waiting for each answer; any other command waits for what stands before it.
    """
    commands = request.commands
    if request.parallel:
        return [commands[i : i + CONCURRENCY] for i in range(0, len(commands), CONCURRENCY)]
    groups: list[list[BatchCommand]] = []
    for command in commands:
        last = groups[-1] if groups else []
        if command.publish and last and last[-1].publish and len(last) < CONCURRENCY:
            last.append(command)
        else:
            groups.append([command])
    return list(groups)


async def _reply(cluster: Cluster, command: BatchCommand) -> BatchReply:
    try:
        name = _method_of(command)
        result = await METHODS[name][1](cluster, getattr(command, name))
    except (ReplyError, BackplaneError) as error:
        return BatchReply(error=error_body(error))
    return BatchReply(**{name: result})


def _method_of(command: BatchCommand) -> str:
    given = [name for name in METHODS if getattr(command, name) is not None]
    if len(given) != 1:
        raise ReplyError(*codes.METHOD_NOT_FOUND)
    return given[0]
