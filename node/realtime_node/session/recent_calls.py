"""Calls of the HTTP API about users, for connects that are under way when they come.

Who a connecting client is may be known late: the team's backend is asked, and so is the store. A
call that comes meanwhile finds no session of its user. So calls are numbered and remembered; a
connect that knows its user looks for those that came since it began. Pure.

Full: of more than `MAX_CALLS` the oldest are forgotten. A connect that began before them cannot
know what it missed (`knows`), and is to be tried again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from realtime_node.cluster.backplane import DisconnectUser, SubscribeUser, UnsubscribeUser

MAX_CALLS: Final = 10_000

Call = DisconnectUser | SubscribeUser | UnsubscribeUser
_Key = tuple[str, str]


class RecentCalls:
    """The calls that reached this node last."""

    def __init__(self) -> None:
        """Begin with none."""
        self.number = 0
        """How many came so far."""
        self._calls: OrderedDict[int, Call] = OrderedDict()
        # The numbers of the calls about one user or one client, the newest last.
        self._about: dict[_Key, deque[int]] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._calls)

    def add(self, call: Call) -> None:
        """Remember a call. Those about a session are left to the store, which claims ask."""
        if call.session:
            return
        if len(self._calls) >= MAX_CALLS:
            self._forget_oldest()
        self.number += 1
        self._calls[self.number] = call
        self._about.setdefault(_key(call), deque()).append(self.number)

    def knows(self, number: int) -> bool:
        """Whether every call after the first `number` is remembered."""
        return number >= next(iter(self._calls), 1) - 1

    def since(self, number: int, user: str, client: str) -> list[Call]:
        """Return the calls after the first `number` about a user's client, in order."""
        if number == self.number:
            return []
        found: list[int] = []
        for key in (("user", user), ("client", client)):
            for each in reversed(self._about.get(key, ())):
                if each <= number:
                    break
                if self._calls[each].user in ("", user):
                    found.append(each)
        return [self._calls[each] for each in sorted(found)]

    def _forget_oldest(self) -> None:
        _, call = self._calls.popitem(last=False)
        key = _key(call)
        numbers = self._about[key]
        numbers.popleft()
        if not numbers:
            del self._about[key]


def _key(call: Call) -> _Key:
    return ("client", call.client) if call.client else ("user", call.user)
