"""A process that plays a part of the crowd: `python -m tests.load.storm.member`.

It obeys `messages.Order` from standard input and tells a `Second` each second; end of input ends
it. Run by `crowd`, which starts several.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from typing import Final

import msgspec
import uvloop

from tests.load import machine
from tests.load.storm.backoff import SDK_DEFAULT, Backoff
from tests.load.storm.client import Client, State
from tests.load.storm.messages import (
    COMING,
    Choose,
    Churn,
    Judge,
    Mark,
    Order,
    Report,
    Stall,
    Start,
    Story,
    new_second,
)
from tests.support.tokens import token

_TOLD_EVERY_S: Final = 1.0
_PACED_EVERY_S: Final = 0.02

_orders: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)


class Member:
    """The clients and what they share (`client.Surroundings`)."""

    def __init__(self) -> None:
        """Have no clients yet."""
        self.second = new_second()
        self.part = COMING
        self.here = 0
        self.recovered = 0
        self.back_s: list[float] = []
        self.ended: Counter[str] = Counter()
        self.backoff: Backoff = SDK_DEFAULT
        self._clients: list[Client] = []
        self._nodes: list[int] = []
        self._random = random.Random()  # noqa: S311 - a load balancer's choice
        self._coming: asyncio.Task[None] | None = None
        self._churning: asyncio.Task[None] | None = None

    def choose(self) -> int:
        """Return one of the nodes, as a Service does: any, whatever it holds."""
        return self._random.choice(self._nodes)

    async def obey(self, orders: asyncio.StreamReader) -> None:
        """Do what the lab says until it ends."""
        telling = asyncio.create_task(self._tell_seconds())
        try:
            while line := await orders.readline():
                self._do(_orders.decode(line))
        finally:
            for task in filter(None, (telling, self._coming, self._churning)):
                task.cancel()

    def _do(self, order: Order) -> None:
        match order:
            case Start():
                self._start(order)
            case Choose(nodes):
                self._nodes = nodes
            case Mark(part):
                self.part = part
            case Churn(per_s):
                if self._churning is not None:
                    self._churning.cancel()
                self._churning = asyncio.create_task(self._churn(per_s))
            case Stall(clients, seconds):
                for client in self._clients[:clients]:
                    client.stall(seconds)
            case Judge():
                self._tell_second()
                self._tell_story()

    def _start(self, start: Start) -> None:
        self._nodes = start.nodes
        self.backoff = Backoff(start.least_delay_s, start.most_delay_s)
        self._clients = [
            Client(
                self,
                number,
                token(secret=start.secret, sub=f"client-{number}"),
                start.channels[number % len(start.channels)],
            )
            for number in range(start.first, start.first + start.clients)
        ]
        self._coming = asyncio.create_task(self._come(start.connects_per_s))

    async def _come(self, per_s: float) -> None:
        begun = time.monotonic()
        for number, client in enumerate(self._clients):
            while number > (time.monotonic() - begun) * per_s:
                await asyncio.sleep(_PACED_EVERY_S)
            client.come()

    async def _churn(self, per_s: float) -> None:
        """Let clients drop out, one by one in a random order, each of which comes back."""
        begun, dropped = time.monotonic(), 0
        while per_s:
            await asyncio.sleep(_PACED_EVERY_S)
            while dropped < (time.monotonic() - begun) * per_s:
                self._random.choice(self._clients).leave()
                dropped += 1

    async def _tell_seconds(self) -> None:
        due = time.monotonic()
        while True:
            due += _TOLD_EVERY_S
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self._tell_second()

    def _tell_second(self) -> None:
        told, self.second = self.second, new_second()
        told.at_s, told.here, told.cpu_s = time.monotonic(), self.here, time.process_time()
        _tell(told)

    def _tell_story(self) -> None:
        _tell(
            Story(
                followings=[client.following for client in self._clients],
                reconnects=[max(client.joins - 1, 0) for client in self._clients],
                back_s=self.back_s,
                recovered=self.recovered,
                ended=dict(self.ended),
            )
        )
        for client in self._clients:
            if client.state is not State.ENDED:
                client.end()


def _tell(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    """Obey standard input."""
    machine.raise_open_files_limit()
    orders = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    await Member().obey(orders)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
