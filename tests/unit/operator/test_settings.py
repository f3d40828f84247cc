"""The operator's own settings and its command line."""

from __future__ import annotations

import pytest
import yaml

from realtime_operator.cli import main
from realtime_operator.crd.generate import render
from realtime_operator.errors import SettingsError
from realtime_operator.settings import OperatorSettings


def test_settings_come_from_the_environment() -> None:
    """Variables with the prefix are settings, others are not."""
    settings = OperatorSettings.from_environment(
        {"REALTIME_OPERATOR_HTTP_PORT": "9", "REALTIME_OPERATOR_IDENTITY": "me", "HOME": "/"}
    )
    assert (settings.http_port, settings.identity) == (9, "me")


def test_every_wrong_variable_is_named() -> None:
    """A typing error is an error, and all are told at once."""
    with pytest.raises(SettingsError) as caught:
        OperatorSettings.from_environment(
            {"REALTIME_OPERATOR_HTTP_PROT": "9", "REALTIME_OPERATOR_LOG_LEVEL": "loud"}
        )
    assert "REALTIME_OPERATOR_HTTP_PROT" in str(caught.value)
    assert "REALTIME_OPERATOR_LOG_LEVEL" in str(caught.value)


def test_the_definition_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`realtime-operator crd | kubectl apply -f -` installs the resource."""
    assert main(["crd"]) == 0
    assert capsys.readouterr().out == render()


def test_the_definition_has_no_anchors() -> None:
    """What occurs twice is written twice, so that each place can be read alone."""
    tokens = yaml.scan(render(), Loader=yaml.SafeLoader)
    assert not [each for each in tokens if isinstance(each, yaml.AnchorToken | yaml.AliasToken)]


def test_wrong_settings_end_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told on standard error, and nothing starts."""
    monkeypatch.setenv("REALTIME_OPERATOR_HTTP_PORT", "none")
    assert main(["run", "--all-namespaces"]) == 1
    assert "REALTIME_OPERATOR_HTTP_PORT" in capsys.readouterr().err


def test_namespaces_have_to_be_named() -> None:
    """Which clusters are looked after is never a guess."""
    with pytest.raises(SystemExit):
        main(["run"])
