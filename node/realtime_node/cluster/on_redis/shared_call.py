"""One call at a time, whose answer everybody has who asks for it meanwhile (request coalescing)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from realtime_node.supervision import is_asked_for, supervise

_T = TypeVar("_T")


class SharedCall(Generic[_T]):
    """Makes a call when somebody asks, unless one is out already.

    The call goes on although those who asked give up: others may share it.
    """

    def __init__(self, call: Callable[[], Awaitable[_T]], *, name: str) -> None:
        """`name` is a constant: its task's."""
        self._call = call
        self._name = name
        self._answer: asyncio.Future[_T] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> _T:
        """Return what the call returns; raises a copy of what it raises."""
        answer = self._answer
        if answer is None:
            answer = self._answer = asyncio.get_running_loop().create_future()
            self._task = supervise(self._make, name=self._name)
        await asyncio.wait((answer,))
        if error := answer.exception():
            raise copy_of(error)
        return answer.result()

    async def close(self) -> None:
        """Give the call up; those who wait are told so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._answer is not None:  # cancelled before it began
            self._fail(asyncio.CancelledError())

    async def _make(self) -> None:
        try:
            found = await self._call()
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error)
            if is_asked_for(error):
                raise
        else:
            self._end().set_result(found)

    def _fail(self, error: BaseException) -> None:
        answer = self._end()
        answer.set_exception(_not_cancelled(error))
        answer.exception()  # it may be that nobody waits any more

    def _end(self) -> asyncio.Future[_T]:
        answer, self._answer = self._answer, None
        assert answer is not None, "it is out"
        return answer


def _not_cancelled(error: BaseException) -> BaseException:
    """A future that holds a `CancelledError` would look as if its waiters were cancelled."""
    if isinstance(error, asyncio.CancelledError):
        return ConnectionAbortedError("the call was given up")
    return error


def copy_of(error: BaseException) -> BaseException:
    """Return an error like this one for one more who waited for it, caused by it.

    An exception that is raised in several tasks collects the traceback of each.
    """
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    copy.args = error.args
    vars(copy).update(vars(error))
    copy.__cause__ = error
    return copy
