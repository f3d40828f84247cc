"""What a backend's answer means."""

from __future__ import annotations

import msgspec

from realtime_node.proxy.answers import connect_verdict, read
from realtime_node.proxy.messages import Answer, ConnectResult


def test_half_a_character_is_replaced() -> None:
    """A name that was cut within an emoji lets its user in all the same."""
    body = rb'{"result":{"user":"Ann \ud83d","info":{"name":"Ann \ud83d"}}}'
    result = read(body, msgspec.json.Decoder(Answer[ConnectResult]))
    assert result is not None
    verdict = connect_verdict(result)
    assert (verdict.user, verdict.info) == ("Ann \ufffd", rb'{"name":"Ann \ufffd"}')
