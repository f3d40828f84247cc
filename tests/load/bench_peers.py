"""Measures our node and Centrifugo in turns, in one run: `make bench-peers`.

Takes about ten minutes, and a few more the first time, when Centrifugo is built from its Go module.
"""

from __future__ import annotations

import sys

from tests.load import rounds, suite
from tests.load.centrifugo import VERSION, CentrifugoNotBuiltError, build_centrifugo
from tests.load.servers import OUR_NODE, centrifugo


def main() -> None:
    """Build the peer if need be, then measure."""
    arguments = rounds.parse_arguments(__doc__, suite.SCENARIOS)
    try:
        program = build_centrifugo()
    except CentrifugoNotBuiltError as failure:
        sys.exit(str(failure))
    kinds = [OUR_NODE, centrifugo(program)]
    suite.main("bench-peers", arguments, kinds, notes=f", Centrifugo {VERSION}")


if __name__ == "__main__":
    main()
