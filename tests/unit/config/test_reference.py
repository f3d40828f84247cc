"""docs/configuration.md is what the classes say."""

from __future__ import annotations

from pathlib import Path

from realtime_node.config.reference import render
from realtime_node.config.tree import Kind, all_keys, dotted

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_document_is_up_to_date() -> None:
    """The committed document is the one the classes give."""
    command = "python -m realtime_node.config.reference > docs/configuration.md"
    assert DOCUMENT.read_text(encoding="utf-8") == render(), f"run {command}"


def test_every_key_says_what_it_means() -> None:
    """No key and no section is without documentation, and every number has its bounds."""
    for key in all_keys().values():
        if key.kind is not Kind.SECTION:
            assert key.meaning, dotted(key.path)
        assert key.allowed, dotted(key.path)
