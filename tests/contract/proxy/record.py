"""Record what Centrifugo asks and tells.

python -m tests.contract.proxy.record PATH-OF-CENTRIFUGO
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.contract.proxy.playing import play

GOLDEN = Path(__file__).with_name("golden.json")


def main() -> int:
    """Play twice, and write it if it came out the same."""
    program = sys.argv[1]
    plays = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as directory:
            plays.append(asyncio.run(play(Path(directory), (program, "--config"), "/health")))
    if plays[0] != plays[1]:
        sys.stderr.write("it came out differently\n")
        return 1
    GOLDEN.write_text(json.dumps(plays[0], indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
