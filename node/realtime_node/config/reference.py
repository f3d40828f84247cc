"""Writes docs/configuration.md from the settings' classes, which a test holds to be the same.

python -m realtime_node.config.reference > docs/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from realtime_node.config.loading import PREFIX
from realtime_node.config.tree import EACH, Key, Kind, Path, all_keys, dotted

SECTIONS: Final = (Kind.SECTION, Kind.SECTIONS)
OPTIONS: Final[Path] = ("channel", "without_namespace")
PROXY: Final[Path] = ("client", "proxy", "connect")
SAME: Final[dict[Path, Path]] = {
    ("channel", "namespaces", EACH): OPTIONS,
    ("rpc", "namespaces", EACH): ("rpc", "without_namespace"),
    ("client", "proxy", "refresh"): PROXY,
    ("channel", "proxy", "subscribe"): PROXY,
    ("channel", "proxy", "publish"): PROXY,
    ("channel", "proxy", "sub_refresh"): PROXY,
    ("rpc", "proxy"): PROXY,
    ("proxies", EACH): PROXY,
}
"""Where keys stand that are described elsewhere, and where that is."""

INTRODUCTION: Final = f"""\
# Configuration

<!-- Written by `python -m realtime_node.config.reference`; change the classes instead. -->

`realtime-node serve --config FILE` reads one file, in JSON, YAML or TOML by its suffix. Keys are
named and nested as in Centrifugo 6; those listed here exist, and any other is an error that names
the nearest right one, so nothing is ever ignored silently.

```yaml
engine:
  type: redis
  redis:
    address: redis://127.0.0.1:6379
http_api:
  key: change-me
client:
  allowed_origins: ["https://example.com"]
  token:
    hmac_secret_key: change-me-to-32-random-bytes-or-more
channel:
  namespaces:
    - name: chat
      history_size: 100
      history_ttl: 300s
      force_recovery: true
      presence: true
      allow_subscribe_for_client: true
```

A variable of the environment overrides a key of the file: `{PREFIX}`, then the key in upper
case, its sections joined by two underscores, as in `{PREFIX}HTTP_API__KEY`. Text and
durations are taken as they stand, other values are read as JSON, e.g. `true`, `8000` or
`["https://example.com"]`. Namespaces are set all together, as a JSON list in
`{PREFIX}CHANNEL__NAMESPACES`.

A duration is a number with its unit, or several: `500ms`, `25s`, `1h30m`, `720h`.
"""


def render() -> str:
    """The whole document."""
    return INTRODUCTION + "".join(
        _section(key)
        for key in all_keys().values()
        if key.kind in SECTIONS and not _is_described_elsewhere(key)
    )


def _is_described_elsewhere(key: Key) -> bool:
    """Whether it means the same as a key of the same name in another section."""
    return any(
        key.path[: len(place)] == place
        and len(key.path) > len(place)
        and (*same, *key.path[len(place) :]) in all_keys()
        for place, same in SAME.items()
    )


def _section(section: Key) -> str:
    inside = (*section.path, EACH) if section.kind is Kind.SECTIONS else section.path
    rows = list(_rows(inside))
    also = ""
    if same := SAME.get(inside):
        beside = "also " if rows else ""
        also = f"It has {beside}the keys of [`{dotted(same)}`](#{_anchor(same)}) that fit it."
    paragraphs = [f"## `{dotted(inside)}`", f"{section.meaning} {also}".rstrip()]
    if rows:
        table = ["| key | holds | default | meaning |", "|---|---|---|---|", *rows]
        paragraphs.append("\n".join(table))
    return "".join(f"\n{paragraph}\n" for paragraph in paragraphs)


def _rows(inside: Path) -> Iterator[str]:
    for key in all_keys().values():
        if key.path[:-1] != inside or key.kind in SECTIONS:
            continue
        if _is_described_elsewhere(key):
            continue
        default = (
            f"`{key.default}`" if key.default else "none" if key.kind is Kind.NUMBER else "required"
        )
        yield f"| `{key.path[-1]}` | {key.allowed} | {default} | {key.meaning} |"


def _anchor(path: Path) -> str:
    return dotted(path).replace(".", "")


if __name__ == "__main__":
    sys.stdout.write(render())
