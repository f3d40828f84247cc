"""Sentinels, as Centrifugo's settings name them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from realtime_node.config.engine import RedisSettings


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("one", (("one", 26379),)),
        (["one:1", "two"], (("one", 1), ("two", 26379))),
        (["one:1,two:2"], (("one", 1), ("two", 2))),
        ("[::1]:5", (("::1", 5),)),
    ],
)
def test_addresses_of_sentinels(given: object, understood: tuple[tuple[str, int], ...]) -> None:
    """A text, a list, or texts with commas; the usual port unless another is given."""
    settings = RedisSettings.model_validate(
        {"sentinel_address": given, "sentinel_master_name": "main"}
    )
    assert settings.sentinels == understood


@pytest.mark.parametrize(
    "settings",
    [
        {"sentinel_address": "one"},
        {"sentinel_address": "one:0", "sentinel_master_name": "main"},
        {"sentinel_address": "redis://one", "sentinel_master_name": "main"},
        {"sentinel_address": 5, "sentinel_master_name": "main"},
        {"sentinel_address": "one", "sentinel_master_name": "main", "address": "unix:///s"},
    ],
    ids=["no name", "no port", "no URL", "a number", "a socket"],
)
def test_sentinels_that_make_no_sense(settings: dict[str, object]) -> None:
    """What cannot work is refused before anything is started."""
    with pytest.raises(ValidationError):
        RedisSettings.model_validate(settings)
