"""The rule for what is missing on a machine: a visible skip for a developer, a failure under CI."""

import sys
from pathlib import Path

import pytest

from tests.support.prerequisites import require

ABSENT = "no-such-command-anywhere"


def test_a_command_on_path_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is there is returned with its whole path."""
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", str(python.parent))
    assert require(python.name, "install Python") == str(python)


def test_a_condition_that_holds_lets_the_test_go_on() -> None:
    """A condition that holds asks nothing of the test."""
    require(True, "nothing to do")


@pytest.mark.parametrize("needed", [ABSENT, False])
@pytest.mark.parametrize("ci", [None, "", "false"])
def test_what_is_missing_skips_on_a_developers_machine(
    monkeypatch: pytest.MonkeyPatch, needed: str | bool, ci: str | None
) -> None:
    """Without CI=true the test is skipped, and the reason holds the command that mends it."""
    if ci is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        require(needed, "apt-get install it")


@pytest.mark.parametrize("needed", [ABSENT, False])
def test_what_is_missing_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch, needed: str | bool
) -> None:
    """With CI=true the test fails, and the reason holds the command that mends it."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        require(needed, "apt-get install it")
