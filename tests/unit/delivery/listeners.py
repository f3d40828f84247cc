"""Subscribers of a hub, without the session around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_node.delivery.outbound import Outbound
from realtime_node.protocol.deflate import UNCOMPRESSED, Wire
from tests.support.fakes import FakeTransport, offsets_of

if TYPE_CHECKING:
    from realtime_node.delivery.hub import Hub
    from realtime_node.delivery.joining import Joiner
    from realtime_node.delivery.policies import Reason
    from realtime_node.protocol.messages import StreamPosition


class Listener:
    """One client's subscription to one channel, and what it saw of it."""

    def __init__(  # noqa: PLR0913 - a client differs from another in so much
        self,
        hub: Hub,
        channel: str = "a",
        *,
        follows_stream: bool = False,
        joins: bool = False,
        high_water: int = 1000,
        wire: Wire = UNCOMPRESSED,
    ) -> None:
        self.hub = hub
        self.channel = channel
        self.follows_stream = follows_stream
        self.joins = joins
        self.losses = 0
        self.ends: list[Reason] = []
        """Why it had to go as too slow."""
        self.transport = FakeTransport(high_water=high_water)
        self.transport.set_protocol(self)
        self.outbound = Outbound(
            self.transport,
            hub._slow,
            on_pressure=self._on_pressure,
            on_slow=self._on_slow,
            wire=wire,
        )

    def pause_writing(self) -> None:
        """Pass congestion on."""
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Pass its end on."""
        self.outbound.resume()

    def _on_pressure(self) -> None:
        self.hub.refresh_send([self.channel], self)

    def _on_slow(self, reason: Reason) -> None:
        self.ends.append(reason)
        self.leave()

    def lose_position(self, channel: str) -> bool:
        """End the subscription as a session does, if it was promised a position."""
        assert channel == self.channel
        if not self.follows_stream:
            return False
        self.losses += 1
        self.leave()
        return True

    def ask(self) -> Joiner:
        """Begin to subscribe."""
        return self.hub.begin_join(
            self.channel, self, follows_stream=self.follows_stream, wants_join_leave=self.joins
        )

    def join(self, top: StreamPosition) -> None:
        """Subscribe, answered at once."""
        self.hub.finish_join(self.channel, self.ask(), top)

    def leave(self) -> None:
        """Unsubscribe."""
        self.hub.leave(self.channel, self)

    @property
    def frames(self) -> list[bytes]:
        """What was written to it."""
        return self.transport.written

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it read out of that."""
        return self.transport.messages

    @property
    def offsets(self) -> list[int]:
        """The offsets it saw."""
        return offsets_of(self.messages)

    @property
    def data(self) -> list[Any]:
        """The data it saw."""
        return [each["push"]["pub"]["data"] for each in self.messages if "pub" in each["push"]]
