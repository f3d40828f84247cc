"""The arithmetic of the benchmarks: what is read from /proc, summed up over rounds, and judged."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from tests.load import machine, report, rounds, suite
from tests.load.generators import Second
from tests.load.report import Spread, Target
from tests.load.results import HttpPublishing, Sending
from tests.load.scenarios import growth_of_p99
from tests.support.prerequisites import require


def _second(number: int, p99_ms: float, publications: int = 200_000) -> Second:
    return Second(number, publications, publications, p99_ms / 2, p99_ms, p99_ms)


def test_cpu_time_is_user_and_system_time() -> None:
    """Fields 14 and 15 of /proc/PID/stat count, whatever the program calls itself."""
    fields = ["S", "1", "1", "1", "0", "-1", "4194560", "9", "9", "9", "9", "250", "50", "7", "7"]
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"42 (a (strange) name 7 7) {' '.join(fields)} 20 0"
    assert machine.parse_cpu_seconds(stat) == 300 / ticks


def test_cpu_time_of_a_process_grows_as_it_works() -> None:
    """What is read for this very process covers what it has just done."""
    before = machine.clock(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    spent = machine.clock(os.getpid()) - before
    assert spent.cpu >= 0.08
    assert spent.waiting >= 0


def test_waiting_is_the_time_on_the_run_queue() -> None:
    """The second number of /proc/PID/task/TID/schedstat, in nanoseconds."""
    assert machine.parse_waiting_seconds("900000000 2500000000 77\n") == 2.5


def test_memory_is_read_whole_and_in_proportion() -> None:
    """The two sums are told apart from their parts."""
    text = "0-1 ---p 0 0:0 0 [rollup]\nRss:  2048 kB\nPss:  1536 kB\nPss_Anon: 9 kB\n"
    assert machine.parse_memory(text) == machine.Memory(resident=2048, proportional=1536)


def test_a_connection_that_the_server_closed_is_not_established_and_keeps_its_memory() -> None:
    """Of two connections one waits in vain for its peer to take what is queued."""
    skmem = "\t skmem:(r0,rb131072,t0,tb87040,f3072,w{},o0,bl0,d0)\n"
    text = (
        f"ESTAB      0 5000 127.0.0.1:8000 127.0.0.1:40001{skmem.format(6144)}"
        f"FIN-WAIT-1 0 9000 127.0.0.1:8000 127.0.0.1:40002{skmem.format(10240)}"
    )
    assert machine.parse_sockets(text) == machine.Sockets(established=1, queued_kib=16)


async def test_connections_of_a_port_are_counted() -> None:
    """A listening socket is none, and a client of it is one."""
    require("ss", fix="apt-get install iproute2")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert (await machine.sockets(port)).established == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert (await machine.sockets(port)).established == 1


def test_memory_of_a_process_is_plausible() -> None:
    """This process holds at least a few MiB, and no more in proportion than in all."""
    memory = machine.memory(os.getpid())
    assert 4_000 < memory.proportional <= memory.resident


@pytest.mark.parametrize(
    ("p99s", "growth"),
    [
        ([5, 5, 5, 5, 5, 5], 1.0),
        ([10, 10, 15, 20, 30, 30], 3.0),
        ([10, 90, 10, 10, 10, 10, 10, 10, 10], 1.0),  # a hiccup is no growth
        ([], 1.0),
    ],
)
def test_growth_compares_the_last_third_with_the_first(p99s: list[float], growth: float) -> None:
    """A server that falls behind is later and later; one slow second is no sign of it."""
    timeline = [_second(number, p99) for number, p99 in enumerate(p99s)]
    assert growth_of_p99(timeline) == pytest.approx(growth)


def test_seconds_without_full_load_do_not_count_for_growth() -> None:
    """Neither the first second, when publishing begins, nor the one after the end."""
    timeline = [
        _second(0, 900, publications=10_000),
        *(_second(number, 5) for number in range(1, 10)),
        _second(10, 900, publications=0),
    ]
    assert growth_of_p99(timeline) == 1.0


def test_a_spread_shows_its_range_only_where_there_is_one() -> None:
    """One round has no spread."""
    assert Spread.of([3.14159]).text(2) == "3.14"
    assert Spread.of([3, 1, 2]).text(0) == "2 (1 to 3)"


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine twice as slow in the second round leaves the ratio as it is."""
    target = Target("ratio", "unbatched", "us_per_delivery", 2.0, relative_to="C send()")
    results: report.Results = {
        "unbatched": {
            "realtime-node": [Sending(6.0, 6.0), Sending(12.0, 12.0)],
            "C send()": [Sending(3.0, 3.0), Sending(6.0, 6.0)],
        }
    }
    (verdict,) = report.judge(results, [target], "realtime-node")
    assert verdict.measured == Spread(2.0, 2.0, 2.0)
    assert verdict.is_met


@pytest.mark.parametrize(
    ("at_least", "value", "is_met"),
    [(True, 4_000, True), (True, 3_999, False), (False, 4_000, True), (False, 4_001, False)],
)
def test_a_target_is_met_on_the_right_side_of_its_limit(
    at_least: bool, value: float, is_met: bool
) -> None:
    """The limit itself meets the target."""
    assert Target("t", "s", "f", 4_000, at_least=at_least).is_met_by(value) is is_met


def test_what_was_not_measured_is_not_judged() -> None:
    """Without Centrifugo in the run there is no verdict on a ratio to it, met or not."""
    target = Target("t", "unbatched", "us_per_delivery", 2.0, relative_to="Centrifugo")
    results: report.Results = {"unbatched": {"realtime-node": [Sending(6.0, 6.0)]}}
    assert report.judge(results, [target], "realtime-node") == []


def test_every_target_names_a_figure_that_is_measured() -> None:
    """A target on a scenario or a figure that does not exist would never be judged."""
    for target in suite.TARGETS:
        result = typing.get_type_hints(suite.SCENARIOS[target.scenario].measure)["return"]
        assert target.figure in {field.name for field in dataclasses.fields(result)}, target.text


def _cells(markdown: str) -> list[list[str]]:
    rows = (line for line in markdown.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_report_is_kept_as_markdown_and_as_numbers(tmp_path: Path) -> None:
    """Both hold every figure, the verdicts, and what is known of the machine."""
    results: report.Results = {"http": {"realtime-node": [HttpPublishing(5_000.0, 90, 1, 2, 0)]}}
    target = Target("HTTP publishes/s", "http", "publishes_per_s", 9_000, at_least=True)
    verdicts = report.judge(results, [target], "realtime-node")
    text = report.markdown(["a machine"], {"http": "HTTP"}, results, verdicts)
    report.save(tmp_path / "kept" / "bench-1", text, ["a machine"], results, verdicts)
    assert ["HTTP publishes/s", "5,000", "≥ 9,000", "**not met**"] in _cells(text)
    assert ["publishes per second", "5,000"] in _cells(text)
    assert (tmp_path / "kept" / "bench-1.md").read_text() == text
    kept = json.loads((tmp_path / "kept" / "bench-1.json").read_text())
    assert kept["results"]["http"]["realtime-node"][0]["publishes_per_s"] == 5_000
    assert kept["targets"][0]["met"] is False


def test_pictures_are_kept_over_those_of_an_earlier_run(tmp_path: Path) -> None:
    """Under their own names, in a folder that is made for them; without any, none is made."""
    folder = tmp_path / "docs" / "images"
    assert rounds.keep_pictures(folder, {}) == []
    assert not folder.exists()
    rounds.keep_pictures(folder, {"a.svg": "<svg>old</svg>", "b.svg": "<svg/>"})
    assert rounds.keep_pictures(folder, {"a.svg": "<svg>new</svg>"}) == [folder / "a.svg"]
    assert (folder / "a.svg").read_text() == "<svg>new</svg>"
    assert (folder / "b.svg").exists()


def test_pictures_of_a_quick_run_are_not_kept() -> None:
    """They would stand where those of a real one are looked for."""
    kept = rounds.parse_arguments("", suite.SCENARIOS, ["--keep", "docs/images"]).keep
    assert kept == Path("docs/images")
    with pytest.raises(SystemExit):
        rounds.parse_arguments("", suite.SCENARIOS, ["--keep", "docs/images", "--quick"])


def test_only_what_draws_brings_matplotlib() -> None:
    """A benchmark starts without it, so that one without pictures does not wait for it."""
    programs = "tests.load.bench_flow, tests.load.bench, tests.load.bench_backplane"
    check = f"import sys, {programs}; sys.exit('matplotlib' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", check], cwd=root, check=False).returncode == 0


def test_a_scenario_is_chosen_by_the_start_of_its_name() -> None:
    """`--only nodes` is all three sizes of cluster; a name that fits nothing is refused."""
    assert rounds.chosen(suite.SCENARIOS, ["nodes"]) == ["nodes-1", "nodes-2", "nodes-4"]
    assert (
        rounds.parse_arguments("", suite.SCENARIOS, ["--only", "http", "--rounds", "2"]).rounds == 2
    )
    with pytest.raises(SystemExit):
        rounds.parse_arguments("", suite.SCENARIOS, ["--only", "nothing"])
