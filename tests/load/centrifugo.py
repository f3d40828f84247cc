"""Builds the peer that the benchmarks measure beside: Centrifugo, from its Go module.

It is built once, outside the checkout, and never installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "6.9.1"

_MODULE = "github.com/centrifugal/centrifugo/v6"
_BUILD_TIMEOUT_S = 1_800


class CentrifugoNotBuiltError(Exception):
    """Go is missing, or could not fetch or build the module; the message says which."""


def build_centrifugo() -> Path:
    """Return the path of the program, built if it is not there yet, which takes a few minutes.

    Raises:
        CentrifugoNotBuiltError: it cannot be built here.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "realtime-cluster" / f"centrifugo-{VERSION}"
    program = directory / "centrifugo"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise CentrifugoNotBuiltError(
            f"Centrifugo {VERSION} is built from source and there is no Go on PATH:"
            " install Go (https://go.dev/dl), or run the benchmarks of our node alone: make bench"
        )
    directory.mkdir(parents=True, exist_ok=True)
    print(f"Building Centrifugo {VERSION} into {directory}", flush=True)
    # Installed beside and renamed: an interrupted build leaves nothing that looks finished.
    unfinished = directory / "unfinished"
    try:
        subprocess.run(
            [go, "install", f"{_MODULE}@v{VERSION}"],
            check=True,
            timeout=_BUILD_TIMEOUT_S,
            env={**os.environ, "GOBIN": str(unfinished), "GOTOOLCHAIN": "auto"},
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        raise CentrifugoNotBuiltError(f"Centrifugo {VERSION} was not built: {failure}") from failure
    (unfinished / "centrifugo").rename(program)
    unfinished.rmdir()
    return program
