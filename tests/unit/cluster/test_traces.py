"""What a node remembers to have been acknowledged belongs to one of its identities."""

from __future__ import annotations

from realtime_node.cluster.on_redis.traces import Traces


def test_what_an_old_identity_still_reads_is_not_taken_for_the_new_ones() -> None:
    """An old inbox goes on being read while the new identity registers: no loss is seen in that."""
    traces = Traces(2)
    traces.begin("old")
    traces.took("old", 1, 877, [b"header", b"payload"])
    assert traces[1].seen().read == (877, [b"header", b"payload"])
    traces.begin("new")
    traces.took("old", 1, 878, [b"header", b"payload"])
    assert traces[1].seen().read is None
    traces.took("new", 1, 0, [b"hello", b""])
    assert traces[1].seen().read == (0, [b"hello", b""])
