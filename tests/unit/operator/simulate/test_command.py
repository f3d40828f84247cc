"""`realtime-operator simulate` and what it makes of settings, good and bad."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from realtime_operator.cli import main
from realtime_operator.simulate import command

SPEC = """
apiVersion: realtimecluster.dev/v1alpha1
kind: RealtimeCluster
metadata: {name: chat}
spec:
  image: node:1
  replicas: 3
  capacity: {maxConnections: 1000}
  drain: {windowSeconds: 20}
"""


def simulate(*arguments: str) -> int:
    """Run the command on a small cluster."""
    return main(["simulate", "--scenario", "node-loss", *arguments])


def test_a_summary_stands_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Both rivals beside each other, with what they were judged by."""
    assert simulate("--nodes", "3", "--clients-per-node", "100", "--per-client") == 0
    told = capsys.readouterr().out
    for line in ("node-hours", "reconnects per client, most", "the budget then", "latency proxy"):
        assert line in told
    assert "operator  Deployment + HPA" in told
    assert "clients by their reconnects" in told


def test_all_figures_are_written_as_json(tmp_path: Path) -> None:
    """Settings, assumptions, summaries and what happened when."""
    file = tmp_path / "run.json"
    assert simulate("--nodes", "3", "--clients-per-node", "100", "--json", str(file)) == 0
    written = json.loads(file.read_text())
    assert written["scenario"] == "node-loss"
    assert written["assumptions"]["least_wait_s"] == 0.5
    operator, rival = written["runs"]
    assert operator["summary"]["reconnects"] > 0
    assert rival["name"] == "Deployment + HPA"
    assert operator["lines"][-1]["at_s"] == 1200


@pytest.mark.thorough
def test_rivals_side_by_side_come_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a huge cluster the rival is simulated by another process, with the same chances."""
    few = ("--nodes", "3", "--clients-per-node", "100")
    assert simulate(*few, "--json", str(tmp_path / "one-by-one")) == 0
    monkeypatch.setattr(command, "HUGE", 3)
    assert simulate(*few, "--json", str(tmp_path / "beside")) == 0
    assert (tmp_path / "beside").read_bytes() == (tmp_path / "one-by-one").read_bytes()


@pytest.mark.thorough
def test_pictures_are_drawn(tmp_path: Path) -> None:
    """One for each scenario, the same bytes for the same run."""
    pytest.importorskip("matplotlib")
    few = ("--nodes", "2", "--clients-per-node", "50")
    assert simulate(*few, "--plots", str(tmp_path / "a")) == 0
    assert simulate(*few, "--plots", str(tmp_path / "b")) == 0
    first, second = (tmp_path / each / "simulated-node-loss.svg" for each in ("a", "b"))
    assert "<svg" in first.read_text()
    assert first.read_text() == second.read_text()


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is simulated."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "realtime_operator.simulate.plots", raising=False)
    assert simulate("--plots", str(tmp_path)) == 1
    told = capsys.readouterr()
    assert "realtime-operator[simulate]" in told.err
    assert not told.out


def test_the_settings_of_a_file_are_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its capacity and replicas say how large the load is; autoscaling is as it has it."""
    file = tmp_path / "cluster.yaml"
    file.write_text("kind: Secret\n---" + SPEC)
    assert simulate("--spec", str(file)) == 0
    told = capsys.readouterr().out
    assert "2,100 clients at most, 3 x 700; a node holds 1,000" in told
    assert "autoscaling Disabled" in told
    assert "drains within 20 s" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Pod\n", "holds no RealtimeCluster"),
        ("a: [\n", "is no YAML"),
        (SPEC + "  drian: {}\n", "there is no field spec.drian"),
        (SPEC + "  update: {maxSurges: 3}\n", "there is no field spec.update.maxSurges"),
        (SPEC + "  rebalance: {thresholdPercent: 0}\n", "spec.rebalance.thresholdPercent"),
        (
            SPEC + "  autoscaling: {mode: Internal, minReplicas: 9, maxReplicas: 3}\n",
            "minReplicas is above maxReplicas",
        ),
        (SPEC + "  autoscaling: {mode: Internal, headroomNodes: 2}\n", "above headroomNodes"),
    ],
)
def test_settings_that_cannot_be_are_told(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the field and what is wrong with it."""
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    assert simulate("--spec", str(file)) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--nodes", "0"), "--nodes has to be from 1 to 1,000"),
        (("--nodes", "1001"), "--nodes has to be from 1 to 1,000"),
        (("--clients-per-node", "0"), "--clients-per-node has to be"),
        (("--nodes", "300", "--per-client"), "too many to follow each"),
        (("--pod-start", "0"), "--pod-start has to be"),
        (("--spec", "/nonexistent.yaml"), "cannot read /nonexistent.yaml"),
    ],
)
def test_what_cannot_be_simulated_is_told(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what can be."""
    assert simulate(*arguments) == 1
    assert told in capsys.readouterr().err
