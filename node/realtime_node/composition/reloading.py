"""Reads the settings again when their file changes, or when it is told to (SIGHUP).

    file ──stamp, every second──▶ `Watch` ─┐
    SIGHUP ────────────────────────────────┴▶ load ▶ `compare` ▶ `Applier`

One task does one reload after the other. Settings that are wrong in any respect change nothing: the
node goes on with those it has, says so in its log, its metrics and `/status`, and reads again when
the file changes once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import Final, Protocol

from realtime_node import failures
from realtime_node.config import Settings
from realtime_node.config.reload import Reload, compare, revision
from realtime_node.config.source import SettingsSource, Watch
from realtime_node.errors import ConfigError
from realtime_node.server.health import RestartNeeded, SettingsStatus
from realtime_node.supervision import supervise
from realtime_node.telemetry.metrics import SettingsMetrics

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
"""A change counts after two looks that saw the same: one to two seconds."""


class Appliance(Protocol):
    """Who brings settings into the node; see `applying.Applier`."""

    async def apply(self, old: Settings, new: Settings) -> None:
        """Go by `new` instead of `old`; raises `ConfigError` before anything has changed."""


class Reloader:
    """The settings that a node goes by, and what became of those that came later."""

    def __init__(
        self,
        settings: Settings,
        source: SettingsSource | None,
        appliance: Appliance,
        metrics: SettingsMetrics,
    ) -> None:
        """Begin with `settings` that were read from `source`; None: nowhere, they stay."""
        self.settings = settings
        self._source = source
        self._appliance = appliance
        self._metrics = metrics
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._status = SettingsStatus(revision=revision(settings), loaded_at=time.time())

    @property
    def status(self) -> SettingsStatus:
        """What `/status` shows."""
        return self._status

    def start(self) -> None:
        """Begin to watch."""
        if self._source is not None:
            self._task = supervise(partial(self._watch, self._source), name="settings")

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ask(self) -> None:
        """Read the settings again, whether the file looks new or not."""
        self._asked.set()

    async def _watch(self, source: SettingsSource) -> None:
        watch = Watch(source.read_at)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._asked.wait()
            stamp = await asyncio.to_thread(source.stamp)
            if watch.is_new(stamp) or self._asked.is_set():
                self._asked.clear()
                watch.take(stamp)
                await self._reload(source)

    async def _reload(self, source: SettingsSource) -> None:
        try:
            wanted = await asyncio.to_thread(source.load)
            reload = compare(self.settings, wanted)
            if reload.changed:
                await self._appliance.apply(self.settings, reload.settings)
        except ConfigError as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - it is noted
            # Read again it would fail again: the file has to change first.
            failures.current().callback_failed("settings", error)
            self._refuse("unexpected error: see the log")
        else:
            self._take(wanted, reload)

    def _refuse(self, error: str) -> None:
        self._metrics.refused()
        logger.error("the new settings are refused, the node goes on with the old ones: %s", error)
        self._status = SettingsStatus(
            revision=self._status.revision,
            loaded_at=self._status.loaded_at,
            reload_error=error,
            needs_restart=self._status.needs_restart,
        )

    def _take(self, wanted: Settings, reload: Reload) -> None:
        self.settings = reload.settings
        self._metrics.reloaded(
            has_changed=bool(reload.changed), needing_restart=len(reload.needs_restart)
        )
        if reload.changed:
            logger.info("the settings have changed: %s", ", ".join(reload.changed))
            for warning in reload.settings.warnings():
                logger.warning("%s", warning)
        for key, reason in reload.needs_restart:
            logger.warning("%s has changed, which counts after a restart only: %s", key, reason)
        if not reload.changed and not reload.needs_restart:
            logger.info("the settings are the same as before")
        self._status = SettingsStatus(
            revision=revision(wanted),
            loaded_at=time.time(),
            needs_restart=tuple(RestartNeeded(*kept) for kept in reload.needs_restart),
        )
