"""Calls scripts and answers what every script may meet: FENCED, NOSCRIPT, a Redis not ready now.

All of them come before a script's first write, so calling again is safe: `ATTEMPTS` times, or with
short pauses until the deadline for a Redis that is loading or failing over. Keys and arguments are
built again for each try, since a fenced node comes back under another id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from realtime_node.backoff import Backoff
from realtime_node.errors import BackplaneUnavailableError

from .commands import Commands
from .options import RedisOptions
from .refusals import FencedError, RefusedForNowError, ScriptMissingError, UnansweredError
from .replies import Reply, as_is, status
from .script import Argument, Script

ATTEMPTS: Final = 3
"""Tries of one call, whatever hinders it: a stale interest, a new identity, a lost script."""

_T = TypeVar("_T")

_FENCED: Final = b"FENCED"
_MAX_PAUSE_S: Final = 0.2

Call = tuple[Sequence[bytes], Sequence[Argument]]


def always(call: Call) -> Callable[[], Call]:
    """For `Runner.run`: the same call with every try, as it does not depend on who we are."""
    return lambda: call


def unless_fenced(read: Callable[[Reply], _T]) -> Callable[[Reply], _T]:
    """Read what a script answers, but for the answer that every script may give."""

    def read_or_raise(reply: Reply) -> _T:
        if status(reply) == _FENCED:
            raise FencedError("this node was declared dead: nothing was done")
        return read(reply)

    return read_or_raise


class Runner:
    """Runs scripts on the connection for writes or the one for reads."""

    def __init__(
        self,
        options: RedisOptions,
        *,
        node_id: Callable[[], str],
        rejoin: Callable[[str], Awaitable[None]],
    ) -> None:
        """`rejoin` gives the node a new identity if it still has the given one."""
        self._options = options
        self._node_id = node_id
        self._rejoin = rejoin

    def deadline(self) -> float:
        """When a call that begins now has to have its answer, in the loop's time."""
        return asyncio.get_running_loop().time() + self._options.command_timeout_s

    async def run(
        self,
        commands: Commands,
        script: Script,
        build: Callable[[], Call],
        *,
        read: Callable[[Reply], _T],
        may_repeat: bool = False,
    ) -> _T:
        """Call a script until it gives an answer of its own; bounded by tries and one deadline.

        Returns what `read` makes of that answer; see `replies`.

        `may_repeat`: executed twice it does no more than once, so a lost answer is asked for again.
        """
        deadline = self.deadline()
        backoff = self.backoff()
        read = unless_fenced(read)
        attempts = 0
        while attempts < ATTEMPTS:
            node = self._node_id()
            keys, arguments = build()
            try:
                return await commands.execute(script.pack(keys, arguments), deadline, read=read)
            except RefusedForNowError as error:
                await self.wait(backoff, error, deadline)
                continue
            except UnansweredError:
                attempts += 1
                if not may_repeat or asyncio.get_running_loop().time() >= deadline:
                    raise
                continue
            except ScriptMissingError:
                attempts += 1
                await self.load(commands, script, deadline)
            except FencedError:
                attempts += 1
                await self.join_again(node, deadline)
        raise BackplaneUnavailableError(f"Redis refused {script.name} {ATTEMPTS} times")

    def backoff(self) -> Backoff:
        """The pauses of one call between its tries."""
        return Backoff(_MAX_PAUSE_S)

    async def wait(self, backoff: Backoff, error: RefusedForNowError, deadline: float) -> None:
        """Pause before Redis is asked again; raise its refusal if the deadline comes first."""
        pause = backoff.next()
        if asyncio.get_running_loop().time() + pause >= deadline:
            raise error
        await asyncio.sleep(pause)

    async def load(self, commands: Commands, script: Script, deadline: float) -> None:
        """Make a script known that the server has forgotten."""
        await commands.execute(script.pack_load(), deadline, read=as_is)

    async def join_again(self, fenced: str, deadline: float) -> None:
        """Wait until the node has another identity than the fenced one."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._rejoin(fenced)
        except TimeoutError:
            raise BackplaneUnavailableError(
                "this node was declared dead and has not yet joined again: nothing was done"
            ) from None
