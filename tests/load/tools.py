"""Builds the load tools, which are C so that they cost less than what they load.

Sources lie beside this module; each program is its own file and all of lib/. A build is kept under
.cache/ and made again when any source changes, so callers ask every time and pay once.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parent
_CACHE = _SOURCES.parents[1] / ".cache" / "load-tools"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


class ToolsNotBuiltError(Exception):
    """The C compiler is missing, or did not accept the sources; the message says which."""


@dataclass(frozen=True)
class Tools:
    """Paths of the built programs; each tells what it does with --help."""

    wsload: Path
    publisher: Path
    sendloop: Path


def build_tools(directory: Path | None = None) -> Tools:
    """Return the load tools, compiled if they are not there yet.

    They go into `directory`, by default one named for the content of the sources.

    Raises:
        ToolsNotBuiltError: gcc is missing or failed.
    """
    library = sorted((_SOURCES / "lib").glob("*.c"))
    if directory is None:
        directory = _CACHE / _digest()
    directory.mkdir(parents=True, exist_ok=True)
    return Tools(
        **{
            name: _compile([_SOURCES / f"{name}.c", *library], directory / name)
            for name in ("wsload", "publisher", "sendloop")
        }
    )


def _digest() -> str:
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for source in sorted([*_SOURCES.glob("*.c"), *(_SOURCES / "lib").iterdir()]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _compile(sources: list[Path], program: Path) -> Path:
    if program.exists():
        return program
    # Linked under another name first: an interrupted build leaves nothing that looks finished.
    unfinished = program.with_suffix(".unfinished")
    try:
        build = subprocess.run(
            ["gcc", *_FLAGS, "-o", unfinished, *sources],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except FileNotFoundError:
        raise ToolsNotBuiltError(
            "the load tools need a C compiler: apt-get install gcc libc6-dev"
        ) from None
    if build.returncode:
        raise ToolsNotBuiltError(f"gcc did not build {program.name}:\n{build.stderr}")
    return unfinished.rename(program)
