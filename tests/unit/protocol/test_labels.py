"""Codes as labels of metrics: few, whatever backends answer."""

from __future__ import annotations

from realtime_node.protocol import codes


def test_only_codes_of_the_protocol_are_labels() -> None:
    """All that this node sends by itself are told apart."""
    assert codes.label_of(codes.ABNORMAL) == "1006"
    assert codes.label_of(codes.TOKEN_EXPIRED.code) == "109"
    assert codes.label_of(codes.UNSUBSCRIBED_EXPIRED.code) == "2501"
    assert {codes.label_of(code) for code in (1, 4999, 2**32 - 1)} == {"other"}
