"""Where a node's settings come from, to be read again, and whether there is something new there.

A mounted ConfigMap or Secret is changed by swapping a link, an editor writes a new file or into the
old one: all of these change what `stat` says of the file that the path leads to. A stamp has to be
the same twice before it counts, since a file that is being written may be valid and half.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from realtime_node.config.loading import load_settings
from realtime_node.config.settings import Settings


class Stamp(NamedTuple):
    """What tells one content of a file from another without reading it."""

    device: int
    inode: int
    modified_ns: int
    size: int


class SettingsSource:
    """A file, if there is one, and the environment that overrides it."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self.path = path
        self._environ = environ
        self.read_at: Stamp | None = None
        """What the file was when it was read last."""

    def load(self) -> Settings:
        """Read and check the settings; raises `ConfigError`."""
        self.read_at = self.stamp()
        return load_settings(self.path, self._environ)

    def stamp(self) -> Stamp | None:
        """Look at the file; None: there is none."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return Stamp(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


class Watch:
    """Says when a file that is looked at again and again has changed. Pure."""

    def __init__(self, taken: Stamp | None) -> None:
        """Begin with the stamp of what was read."""
        self._taken = self._seen = taken

    def is_new(self, stamp: Stamp | None) -> bool:
        """Whether there is something new, and it has not changed since the last look."""
        was_seen, self._seen = stamp == self._seen, stamp
        return was_seen and stamp != self._taken

    def take(self, stamp: Stamp | None) -> None:
        """Note what is about to be read."""
        self._taken = self._seen = stamp
