"""The operator's own settings, from the environment: frozen, and checked before anything starts.

`REALTIME_OPERATOR_HTTP_PORT` is `http_port`. Which namespaces are looked after is the command
line's to say; what clusters should be like stands in their resources.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from realtime_operator.errors import SettingsError

PREFIX: Final = "REALTIME_OPERATOR_"


class OperatorSettings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    http_address: str = ""
    """Host name or address of `/healthz`, `/readyz` and `/metrics`. Empty: all interfaces."""

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """TCP port of `/healthz`, `/readyz` and `/metrics`. 0: any free one."""

    log_level: Literal["debug", "info", "warn", "error"] = "info"
    """What is logged: this level and those after it."""

    namespace: Annotated[str, Field(min_length=1)] = "default"
    """Where the operator runs: its lease is there, and nodes let in Pods of it."""

    identity: Annotated[str, Field(min_length=1)] = Field(default_factory=socket.gethostname)
    """Who holds the lease: the name of the Pod."""

    lease_name: Annotated[str, Field(min_length=1)] = "realtime-operator"
    """Name of the lease. Operators that look after different namespaces from one namespace need
    different ones."""

    lease_duration_seconds: Annotated[int, Field(ge=3, le=300)] = 15
    """After how long without renewal another replica takes over."""

    node_port: Annotated[int, Field(ge=1, le=65535)] = 9000
    """Port on which nodes listen for the operator."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read them. Raises `SettingsError` that names every variable that is wrong."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [
                f"{PREFIX}{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise SettingsError("; ".join(problems)) from None
