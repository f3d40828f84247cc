"""What is simulated: a spec and how large the load is, as asked for or made up.

Without a spec of the user's there is one that fits the size: as many clients per node as are asked
for are the target's share of what a node holds, and a cluster of fifty nodes or more drains and
adds several at a time and asks its nodes less often, as somebody who runs so many would set it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from realtime_operator.crd.realtime_cluster import KIND, RealtimeClusterSpec
from realtime_operator.crd.scaling import MAX_REPLICAS
from realtime_operator.errors import SpecError

DEFAULT_NODES: Final = 10
DEFAULT_CLIENTS_PER_NODE: Final = 10_000
FILLED: Final = 0.68
"""How full nodes are at the highest load: just below the default target, so that chance alone does
not ask for another one."""
LARGE: Final = 50
"""Nodes from which on a cluster drains several at a time."""


@dataclass(frozen=True)
class Size:
    """The highest load of a scenario: so many nodes at their target."""

    nodes: int
    clients_per_node: int

    @property
    def clients(self) -> int:
        """All clients at the highest load."""
        return self.nodes * self.clients_per_node


def fitting_spec(size: Size) -> RealtimeClusterSpec:
    """A spec for a size: the defaults, but for what has to grow with it."""
    is_large = size.nodes >= LARGE
    return RealtimeClusterSpec.model_validate(
        {
            "replicas": min(MAX_REPLICAS, size.nodes),
            "image": "realtime-node:1",
            "capacity": {"maxConnections": min(1_000_000, ceil(size.clients_per_node / FILLED))},
            "autoscaling": {
                "mode": "Internal",
                "minReplicas": 2,
                "maxReplicas": min(MAX_REPLICAS, max(4, ceil(size.nodes * 1.5))),
                "scaleUp": {"maxNodes": max(4, size.nodes // 5)},
                "metrics": {"intervalSeconds": 20, "staleAfterSeconds": 60} if is_large else {},
            },
            "drain": {"windowSeconds": 90 if is_large else 300},
            "update": {"maxConcurrentDrains": min(50, size.nodes // 20) if is_large else 1},
        }
    )


def size_for(spec: RealtimeClusterSpec, nodes: int | None, clients_per_node: int | None) -> Size:
    """A size for a user's spec: nodes at their target, as many as it runs."""
    per_node = spec.capacity.max_connections * spec.autoscaling.target_connection_percent // 100
    usual = spec.replicas
    if spec.autoscaling.mode == "Internal":
        usual = max(1, spec.autoscaling.max_replicas - spec.autoscaling.headroom_nodes)
    return Size(nodes or max(1, usual), clients_per_node or max(1, per_node))


def read_spec(file: Path) -> RealtimeClusterSpec:
    """The spec of a RealtimeCluster in a YAML file.

    Raises `SpecError` that says what to mend: no such file or object, a field that does not exist
    or has a value that it cannot have.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} is no YAML: {error}") from None
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == KIND]
    if not found:
        raise SpecError(
            f"{file} holds no {KIND}: `kubectl get realtimecluster NAME -o yaml` writes one, and"
            " `helm template` shows that of a chart"
        )
    given = found[0].get("spec")
    if not isinstance(given, dict):
        raise SpecError(f"{file}: the {KIND} has no spec")
    try:
        spec = RealtimeClusterSpec.model_validate(given)
    except ValidationError as error:
        raise SpecError(f"{file}: {_told(error)}") from None
    if unknown := sorted(_unknown(RealtimeClusterSpec, given, "spec")):
        raise SpecError(f"{file}: there is no field {unknown[0]}; `realtime-operator crd` has all")
    _check(file, spec)
    return spec


def _check(file: Path, spec: RealtimeClusterSpec) -> None:
    """What the API server would refuse, as far as it matters here."""
    scaling = spec.autoscaling
    if scaling.min_replicas > scaling.max_replicas:
        raise SpecError(f"{file}: autoscaling.minReplicas is above maxReplicas")
    if scaling.mode != "Disabled" and scaling.min_replicas <= scaling.headroom_nodes:
        raise SpecError(f"{file}: set autoscaling.minReplicas above headroomNodes")
    if scaling.scale_down.max_utilization_percent >= scaling.target_connection_percent:
        raise SpecError(
            f"{file}: set autoscaling.scaleDown.maxUtilizationPercent below targetConnectionPercent"
        )
    if spec.replicas < 1 and scaling.mode != "Internal":
        raise SpecError(f"{file}: replicas is 0, there is nothing to simulate")


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"spec.{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _unknown(model: type[BaseModel], given: Mapping[str, Any], path: str) -> Iterator[str]:
    """Fields that a model does not have: the API server would drop them."""
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in given.items():
        field = known.get(key)
        if field is None:
            yield f"{path}.{key}"
        elif isinstance(value, Mapping):
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _unknown(inner, value, f"{path}.{key}")
