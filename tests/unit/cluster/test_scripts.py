"""The scripts as files: every key and argument that they use is named in their header."""

from __future__ import annotations

import re

import pytest

from realtime_node.cluster.on_redis.permissions import grants
from realtime_node.cluster.on_redis.script import ALL_SCRIPTS, Script


@pytest.mark.parametrize("script", ALL_SCRIPTS, ids=lambda script: script.name)
def test_a_script_names_its_keys_and_arguments(script: Script) -> None:
    """The header lists KEYS and ARGV without a gap, and the body uses no others."""
    header, body = _parts(script)
    for name in ("KEYS", "ARGV"):
        named = [int(number) for number in re.findall(rf"^-- {name}\[(\d+)", header, re.MULTILINE)]
        used = {int(number) for number in re.findall(rf"{name}\[(\d+)\]", body)}
        assert named == list(range(1, len(named) + 1))
        assert used <= set(named)


@pytest.mark.parametrize("script", ALL_SCRIPTS, ids=lambda script: script.name)
def test_a_script_says_what_it_returns(script: Script) -> None:
    """Every status that the body returns is told in the header."""
    header, body = _parts(script)
    statuses = set(re.findall(r"(?:return|reply =)\s+\{\s*'([A-Z_]+)'", body))
    assert statuses
    for status in statuses:
        assert f"'{status}'" in header


def test_every_command_of_a_script_is_asked_for_in_the_acl() -> None:
    """A node that may not run a command that some script contains does not start."""
    used = {
        "|".join(filter(None, words)).lower()
        for script in ALL_SCRIPTS
        for words in re.findall(
            r"(?:call\(|query = \{)\s*'([A-Z]+)'(?:, '(USAGE)')?", script.source.decode()
        )
    }
    assert {"xadd", "xrevrange", "memory|usage", "zrangebyscore"} <= used
    assert used <= {grant.removeprefix("+") for grant in grants()}


def _parts(script: Script) -> tuple[str, str]:
    shebang, rest = script.source.decode().split("\n", 1)
    assert shebang.startswith("#!lua")
    header, body = rest.split("\n\n", 1)
    return header, body
