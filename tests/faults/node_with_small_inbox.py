"""A node whose inbox is small, since the bounds of inboxes are no settings.

It stands in for `realtime-node`; REALTIME_TEST_INBOX in its environment holds the bounds as JSON,
named as in `RedisOptions`.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from realtime_node.cluster.on_redis import options

BOUNDS: Final = "REALTIME_TEST_INBOX"


def _lower_bounds() -> None:
    """Change defaults of the options before anybody else takes the class from its module."""
    bounds = msgspec.json.decode(os.environ[BOUNDS], type=dict[str, int])
    options.RedisOptions = msgspec.defstruct(  # type: ignore[assignment,misc]
        "RedisOptions",
        [(name, int, bound) for name, bound in bounds.items()],
        bases=(options.RedisOptions,),
        frozen=True,
        kw_only=True,
    )


if __name__ == "__main__":
    _lower_bounds()
    from realtime_node.cli import main

    sys.exit(main())
