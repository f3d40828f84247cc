"""Which server a development cluster starts."""

from __future__ import annotations

import pytest

from realtime_node.dev.valkey import parse_version


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", ("Valkey 9.1.2", 9)),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", ("Redis 7.0.15", 7)),
        ("Redis server v=10.0 sha=0", ("Redis 10.0", 10)),
        ("command not found", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_the_server_prints(
    output: str, expected: tuple[str, int] | None
) -> None:
    """Anything that is not a server's answer is none."""
    assert parse_version(output) == expected
