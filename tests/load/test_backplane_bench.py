"""The benchmark of the backplane counts what was published and asked: its figures rest on that."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from realtime_node import cli
from realtime_node.cluster.on_redis.script import HEARTBEAT
from tests.load import rounds
from tests.load.backplane import member, scenarios, suite
from tests.load.backplane.results import Idle
from tests.load.backplane.scenarios import Shape
from tests.support.prerequisites import require
from tests.support.redis_monitor import Monitor

if TYPE_CHECKING:
    from pathlib import Path


async def test_publishes_are_counted_at_the_nodes_that_are_interested(tmp_path: Path) -> None:
    """A measurement ends only when the inboxes brought all of it: then each side has its cost."""
    require("redis-server", fix="apt-get install redis-server")
    async with scenarios.opened(tmp_path, True) as lab:
        for interested in (1, 2):
            result = await scenarios.publishing(
                lab, Shape(members=3), interested=interested, history=True
            )
            assert result.publishes_per_s > 0
            assert result.redis_us_per_publish > 0
        assert len(lab.clusters) == 1


def test_every_target_names_a_figure_and_subjects_that_are_measured() -> None:
    """A target on a scenario, a figure or a subject that does not exist would never be judged."""
    figures = {field.name for field in dataclasses.fields(Idle)}
    for target in suite.TARGETS:
        subjects = {name for name, _ in suite.SCENARIOS[target.scenario].subjects}
        assert {suite.OURS, target.relative_to} <= subjects, target.text
        assert target.figure in figures, target.text


def test_a_scenario_is_chosen_by_the_start_of_its_name() -> None:
    """The backplane's scenarios are chosen as the servers' are."""
    assert rounds.chosen(suite.SCENARIOS, ["p"]) == ["publish", "partitions"]


def test_members_collect_garbage_as_nodes_do() -> None:
    """What a member measures without `cli` is what a node would do with it."""
    assert member.GC_THRESHOLDS == cli.GC_THRESHOLDS


def test_a_monitor_tells_scripts_by_name_and_nothing_from_inside() -> None:
    """A script counts once, whatever it calls; every other command under its own name."""
    lines = [
        b'+1700000000.123456 [0 127.0.0.1:5000] "EVALSHA" "%b" "1" "key"\r\n' % HEARTBEAT.sha,
        b'+1700000000.123457 [0 lua] "HMGET" "key" "heartbeat"\r\n',
        b'+1700000000.123458 [0 unix:/run/redis] "xread" "BLOCK" "1"\r\n',
        b'+1700000000.123459 [3 [::1]:5000] "PING"\r\n',
    ]
    monitor = Monitor()
    for line in lines:
        monitor.take(line)
    assert monitor.commands == {"heartbeat": 1, "XREAD": 1, "PING": 1}
    assert monitor.received_bytes == sum(map(len, lines))
