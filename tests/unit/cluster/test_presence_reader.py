"""What is kept of large channels' presence, without a store."""

from __future__ import annotations

from typing import Any, cast

import pytest

from realtime_node.cluster.on_redis import presence_reader
from realtime_node.cluster.on_redis.presence_reader import PresenceReader, Present
from realtime_node.protocol.messages import ClientInfo
from tests.support.fakes import FakeClock


def present(count: int) -> Present:
    """So many clients."""
    return {f"{number}": ClientInfo(user="", client=f"{number}") for number in range(count)}


def test_what_is_kept_is_bounded_by_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few channels may have many; one that is alone is kept however large it is."""
    monkeypatch.setattr(presence_reader, "_MAX_KEPT_CLIENTS", 5)
    nothing = cast("Any", None)
    reader = PresenceReader(nothing, nothing, nothing, nothing, clock=FakeClock())
    for channel in "abc":
        reader._keep(channel, present(2))
    assert list(reader._kept) == ["b", "c"]
    reader._keep("large", present(9))
    assert list(reader._kept) == ["large"]
