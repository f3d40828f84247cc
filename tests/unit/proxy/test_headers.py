"""Which headers are kept and passed on."""

from __future__ import annotations

import pytest

from realtime_node.proxy.headers import MAX_KEPT, HeaderRule, Kept, TooManyHeadersError, pick


def test_only_what_is_named_is_kept() -> None:
    """Names are told apart without case; several lines of a name all count."""
    headers = [("Cookie", "a=1"), ("X-Other", "no"), ("COOKIE", "b=2")]
    assert pick(headers, {"cookie"}) == (("cookie", "a=1"), ("cookie", "b=2"))
    assert pick(headers, ()) == ()


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\0", "a\n", "caf\udce9"])
def test_what_http_cannot_carry_is_left_out(value: str) -> None:
    """A line break, a zero byte, bytes of no encoding: a client harms nobody with them."""
    assert pick([("cookie", value)], {"cookie"}) == ()


def test_what_is_kept_is_bounded() -> None:
    """One byte more than may be kept is refused; what is not kept does not count."""
    room = MAX_KEPT - len("cookie")
    assert pick([("cookie", "x" * room), ("other", "x" * 100)], {"cookie"})
    with pytest.raises(TooManyHeadersError):
        pick([("cookie", "x" * (room + 1))], {"cookie"})


def test_the_handshake_goes_before_what_a_client_made_up() -> None:
    """And both before what is static; each only where the proxy names it."""
    rule = HeaderRule(
        http={"cookie", "a"}, emulated={"cookie", "b"}, static={"A": "s", "B": "s", "C": "s"}
    )
    kept = Kept(
        http=(("cookie", "real"), ("b", "not named")),
        emulated=(("cookie", "forged"), ("b", "given"), ("a", "not named")),
    )
    assert dict(rule.apply(kept)) == {"A": "s", "C": "s", "b": "given", "cookie": "real"}
