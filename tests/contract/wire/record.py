"""Record the golden conversations from a server that is known to be right.

    python -m tests.contract.wire.record PATH-OF-CENTRIFUGO [NAME…]

A developer's tool, run when a conversation is added or the protocol moves: every conversation of
`scripts` (or those named) is played twice, each time with a fresh server, and written to `golden/`
when both times came out the same. `test_golden` then holds our node to it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.contract.wire.conversation import Conversation, Player, Transcript
from tests.contract.wire.scripts import CONVERSATIONS
from tests.contract.wire.servers import settings
from tests.contract.wire.transcripts import GOLDEN, describe, differences, write
from tests.support.node_process import NodeProcess


async def _play_all(command: str, conversations: list[Conversation]) -> list[Transcript]:
    transcripts = []
    for name in sorted({conversation.server for conversation in conversations}):
        with tempfile.TemporaryDirectory() as directory:
            served = {**settings(name), "health": {"enabled": True}}
            async with NodeProcess(
                served,
                Path(directory),
                name=name,
                command=[command, "--config"],
                ready_path="/health",
            ) as server:
                transcripts += [
                    await Player(server).record(conversation)
                    for conversation in conversations
                    if conversation.server == name
                ]
    return transcripts


def main() -> int:
    """Record, and return 1 if a conversation did not come out the same twice."""
    arguments = argparse.ArgumentParser(description="Record the golden conversations.")
    arguments.add_argument("server", help="the Centrifugo program to record")
    arguments.add_argument("names", nargs="*", help="conversations; all if none is named")
    chosen = arguments.parse_args()
    known = {conversation.name: conversation for conversation in CONVERSATIONS}
    assert len(known) == len(CONVERSATIONS), "two conversations have the same name"
    wanted = [known[name] for name in chosen.names] or CONVERSATIONS

    first = asyncio.run(_play_all(chosen.server, wanted))
    second = asyncio.run(_play_all(chosen.server, wanted))
    unstable = 0
    for one, other in zip(first, second, strict=True):
        if found := differences(one, other):
            unstable += 1
            sys.stderr.write(f"It came out differently:\n{describe(one, found)}\n")
        else:
            write(one, GOLDEN)
    sys.stdout.write(f"{len(first) - unstable} of {len(first)} recorded in {GOLDEN}\n")
    return min(unstable, 1)


if __name__ == "__main__":
    sys.exit(main())
