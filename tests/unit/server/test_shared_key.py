"""What callers and a node share: spaces around it are nobody's, in the key as in what is sent."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from realtime_node.server.shared_key import SharedKey


@pytest.mark.parametrize("kept", ["the key", "the key\n", " the key \r\n"])
@pytest.mark.parametrize("sent", ["the key", " the key"])
def test_a_line_break_at_the_end_is_no_part_of_a_key(kept: str, sent: str) -> None:
    """A Secret that was made of a file ends in one, and no header can hold it."""
    assert SharedKey(SecretStr(kept)).is_given_by(sent)
    assert not SharedKey(SecretStr(kept)).is_given_by("another")


@pytest.mark.parametrize("kept", ["", "\n"])
def test_nobody_knows_a_key_that_is_empty(kept: str) -> None:
    """Nothing but white space is no key at all."""
    assert not SharedKey(SecretStr(kept))
    assert not SharedKey(SecretStr(kept)).is_given_by("")
