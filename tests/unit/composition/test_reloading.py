"""What a node makes of its file when that changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import pytest

from realtime_node.composition import reloading
from realtime_node.composition.reloading import Reloader
from realtime_node.config import Settings, SettingsSource
from realtime_node.config.source import Stamp
from realtime_node.errors import ConfigError
from realtime_node.telemetry.metrics import Metrics
from tests.support.conditions import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST: Final = {"client": {"channel_limit": 1}}


class FakeSource(SettingsSource):
    """A file that the test writes."""

    def __init__(self) -> None:
        super().__init__(None, {})
        self.content: dict[str, Any] | None = FIRST
        self.version = 1
        self.loads = 0
        self.read_at = self.stamp()

    def write(self, content: dict[str, Any] | None) -> None:
        """Replace the content; None: it is wrong."""
        self.content = content
        self.version += 1

    def load(self) -> Settings:
        """See `SettingsSource.load`."""
        self.loads += 1
        if self.content is None:
            raise ConfigError("channel.namespaces: wrong")
        return Settings.model_validate(self.content)

    def stamp(self) -> Stamp | None:
        """See `SettingsSource.stamp`."""
        return Stamp(0, 0, self.version, 0)


class FakeNode:
    """Notes which settings it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Settings, Settings]] = []
        self.refusal: Exception | None = None

    async def apply(self, old: Settings, new: Settings) -> None:
        """See `Applier.apply`."""
        if self.refusal is not None:
            raise self.refusal
        self.given.append((old, new))


class World:
    """A reloader between the two."""

    def __init__(self) -> None:
        self.source = FakeSource()
        self.node = FakeNode()
        self.metrics = Metrics()
        first = Settings.model_validate(FIRST)
        self.reloader = Reloader(first, self.source, self.node, self.metrics.settings)

    @property
    def limit(self) -> int:
        """What the node goes by."""
        return self.reloader.settings.client.channel_limit

    def sample(self, name: str) -> str:
        """The lines of one metric."""
        lines = self.metrics.expose().decode().splitlines()
        return "\n".join(line for line in lines if line.startswith(f"realtime_settings_{name}"))


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A reloader that looks all the time."""
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.001)
    world = World()
    world.reloader.start()
    yield world
    await world.reloader.stop()


async def test_a_changed_file_is_taken(world: World) -> None:
    """The node is given what it went by and what it goes by from now on."""
    before = world.reloader.status
    world.source.write({"client": {"channel_limit": 2}})
    await eventually(lambda: world.limit == 2)
    ((old, new),) = world.node.given
    assert (old.client.channel_limit, new.client.channel_limit) == (1, 2)
    assert world.reloader.status.revision != before.revision
    assert world.reloader.status.loaded_at >= before.loaded_at
    assert 'outcome="changed"} 1.0' in world.sample("reloads_total")


async def test_wrong_settings_change_nothing_and_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The node keeps what it has, says why, and takes the file when it is right again."""
    revision = world.reloader.status.revision
    world.source.write(None)
    await eventually(lambda: world.reloader.status.reload_error)
    status = world.reloader.status
    assert (status.revision, status.reload_error) == (revision, "channel.namespaces: wrong")
    assert (world.limit, world.node.given, world.source.loads) == (1, [], 1)
    assert "goes on with the old ones" in caplog.text
    assert world.sample("refused") == "realtime_settings_refused 1.0"
    world.source.write({"client": {"channel_limit": 3}})
    await eventually(lambda: world.limit == 3)
    assert world.reloader.status.reload_error is None
    assert world.sample("refused") == "realtime_settings_refused 0.0"


async def test_what_the_node_cannot_take_changes_nothing(world: World) -> None:
    """Certificates are read when they are needed: what is wrong with them refuses all."""
    world.node.refusal = ConfigError("proxies[0].http.tls: there is no such file")
    world.source.write({"client": {"channel_limit": 2}})
    await eventually(lambda: world.reloader.status.reload_error)
    assert world.limit == 1


async def test_a_bug_of_ours_does_not_end_the_watch(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next change is taken."""
    world.node.refusal = RuntimeError("oops")
    world.source.write({"client": {"channel_limit": 2}})
    await eventually(lambda: world.reloader.status.reload_error)
    assert "oops" in caplog.text
    world.node.refusal = None
    world.source.write({"client": {"channel_limit": 3}})
    await eventually(lambda: world.limit == 3)


@pytest.mark.parametrize("error", [ValueError("a bug"), asyncio.CancelledError()], ids=repr)
async def test_the_watch_outlives_what_it_did_not_expect(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A look that fails is counted by its loop, and a later change is still seen."""
    stamp, looks = world.source.stamp, 0

    def fails() -> None:
        nonlocal looks
        looks += 1
        raise error

    monkeypatch.setattr(world.source, "stamp", fails)
    await eventually(lambda: looks)
    monkeypatch.setattr(world.source, "stamp", stamp)
    world.source.write({"client": {"channel_limit": 2}})
    await eventually(lambda: world.limit == 2)


async def test_what_needs_a_restart_is_named(world: World) -> None:
    """The rest counts; the status and a metric say what does not."""
    world.source.write({"client": {"channel_limit": 2, "ping_interval": "20s"}})
    await eventually(lambda: world.limit == 2)
    await eventually(lambda: world.reloader.status.needs_restart)
    (kept,) = world.reloader.status.needs_restart
    assert kept.key == "client.ping_interval"
    assert kept.reason
    assert world.reloader.settings.client.ping_interval.total_seconds() == 25
    assert world.sample("needing_restart") == "realtime_settings_needing_restart 1.0"
    world.source.write({"client": {"channel_limit": 2}})
    await eventually(lambda: not world.reloader.status.needs_restart)


async def test_it_reads_again_when_told_to(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """SIGHUP counts whatever the file looks like; what says the same bothers nobody."""
    caplog.set_level(logging.INFO)
    world.reloader.ask()
    await eventually(lambda: world.source.loads == 1)
    await eventually(lambda: 'outcome="same"} 1.0' in world.sample("reloads_total"))
    assert world.node.given == []
    assert "the same as before" in caplog.text


async def test_without_a_source_nothing_is_watched() -> None:
    """A node inside another program has the settings it was given."""
    reloader = Reloader(Settings(), None, FakeNode(), Metrics().settings)
    reloader.start()
    reloader.ask()
    await reloader.stop()
    assert reloader.status.needs_restart == ()
