"""Origins in settings: those that no page has are errors that say what is meant."""

from __future__ import annotations

import re

import pytest

from realtime_node.config.origins import ORIGIN_PATTERN, check_origin
from realtime_node.server.handshake import is_allowed_origin


@pytest.mark.parametrize(
    ("pattern", "page"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM", "https://example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://example.com:80", "https://example.com:80"),
        ("https://*.example.com", "https://a.example.com"),
        ("https://example.com:*", "https://example.com:3000"),
        ("*://example.com", "http://example.com"),
        ("http*://example.com", "https://example.com"),
        ("*.example.com", "https://a.example.com"),
        ("*", "https://example.com"),
        ("null", "null"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://127.0.0.1:*", "http://127.0.0.1:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://my_app.example", "https://my_app.example"),
    ],
)
def test_what_a_browser_sends_is_taken(pattern: str, page: str) -> None:
    """And matches the page that it is meant for."""
    assert check_origin(pattern) == pattern
    assert re.search(ORIGIN_PATTERN, pattern)
    assert is_allowed_origin(page, "node", (pattern,))


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("https://example.com/", "with a path: write https://example.com:"),
        ("https://example.com/app", "with a path: write https://example.com:"),
        ("https://example.com?a", "with a path: write https://example.com:"),
        ("https://*.example.com/*", r"with a path: write https://\*.example.com:"),
        ("https://example.com:443", "browsers leave :443 out"),
        ("http://example.com:80", "browsers leave :80 out"),
        ("example.com", "without a scheme"),
        ("example.com:443", "without a scheme"),
        ("localhost:3000", "without a scheme"),
        ("//example.com", "without a scheme"),
        ("", "without a scheme"),
        ("https://bücher.example", "browsers send https://xn--bcher-kva.example"),
        ("https://ann:pw@example.com", "with a user"),
        ("https://", "matches no page"),
        ("https://exa mple.com", "matches no page"),
        (" https://example.com", "matches no page"),
        ("https://example.com:", "matches no page"),
        ("https://example.com:port", "matches no page"),
        ("https://example.com, https://example.org", "matches no page"),
    ],
)
def test_what_no_page_has_is_an_error(pattern: str, problem: str) -> None:
    """It would be valid and let nobody in."""
    with pytest.raises(ValueError, match=problem) as caught:
        check_origin(pattern)
    assert "an origin is what a browser sends: scheme://host" in str(caught.value)
    # A pattern cannot know which port is a scheme's own.
    assert bool(re.search(ORIGIN_PATTERN, pattern)) == ("leave" in problem)
