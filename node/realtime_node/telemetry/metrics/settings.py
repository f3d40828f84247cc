"""Instruments of the settings and their reloads."""

from __future__ import annotations

from realtime_node.telemetry.metrics.maker import Maker


class SettingsMetrics:
    """Instruments of `composition.reloading`."""

    def __init__(self, make: Maker) -> None:
        """Make them at zero; the settings of the start were read."""
        reloads = make.counter(
            "settings_reloads", "Times the settings were read again, by what came of it.", "outcome"
        )
        self._reloads = {name: reloads.labels(name) for name in ("changed", "same", "refused")}
        self._is_refused = make.gauge(
            "settings_refused", "1 while the file's settings are wrong and older ones count."
        )
        self._needs_restart = make.gauge(
            "settings_needing_restart", "Keys whose new values count after a restart only."
        )

    def reloaded(self, *, has_changed: bool, needing_restart: int) -> None:
        """Count settings that were taken."""
        self._reloads["changed" if has_changed else "same"].inc()
        self._is_refused.set(0)
        self._needs_restart.set(needing_restart)

    def refused(self) -> None:
        """Count settings that were not."""
        self._reloads["refused"].inc()
        self._is_refused.set(1)
