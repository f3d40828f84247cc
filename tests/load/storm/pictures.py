"""The pictures of `make storm`, which docs/storms.md shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tests.load import plots
from tests.load.plots import Bound
from tests.load.report import Results
from tests.load.storm.results import Admitted, Drained
from tests.load.storm.suite import PLAIN, SUBJECT
from tests.load.storm.timeline import Moment

Subjects = Mapping[str, Sequence[Any]]


def pictures(results: Results) -> dict[str, str]:
    """Return a picture, file name → SVG, of every scenario that was measured whole."""
    drawn = {}
    for name, (scenario, subjects, draw) in _PICTURES.items():
        measured = results.get(scenario, {})
        if all(measured.get(subject) for subject in subjects):
            drawn[name] = draw(measured)
    return drawn


def _points(
    moments: Iterable[Moment], value: Callable[[Moment], float]
) -> list[tuple[float, float]]:
    return [(moment.second, value(moment)) for moment in moments]


def _admitted(measured: Subjects) -> str:
    result: Admitted = measured[SUBJECT][0]
    return plots.timeline(
        {
            f"let in by {name}": [
                (moment.second, moment.admitted_by_node[name]) for moment in result.timeline
            ]
            for name in result.survivors
        },
        unit="clients per second",
        bound=Bound("rate of a node", result.rate_per_s),
    )


def _demand(measured: Subjects) -> str:
    result: Admitted = measured[SUBJECT][0]
    return plots.timeline(
        {
            "attempts": _points(result.timeline, lambda moment: moment.attempts),
            "refused": _points(result.timeline, lambda moment: moment.refused),
            "let in": _points(result.timeline, lambda moment: moment.admitted),
        },
        unit="per second, all nodes",
    )


def _reconnects(measured: Subjects) -> str:
    drained: Drained = measured[SUBJECT][0]
    plain: Drained = measured[PLAIN][0]
    return plots.timeline(
        {
            "plain shutdown": _points(plain.timeline, lambda moment: moment.admitted),
            "drain": _points(drained.timeline, lambda moment: moment.admitted),
        },
        unit="reconnects per second",
        bound=Bound("reconnect budget", drained.budget_per_s),
    )


_Picture = tuple[str, tuple[str, ...], Callable[[Subjects], str]]  # scenario, subjects, function
_PICTURES: Final[Mapping[str, _Picture]] = {
    "storm-admitted.svg": ("storm", (SUBJECT,), _admitted),
    "storm-demand.svg": ("storm", (SUBJECT,), _demand),
    "storm-drain.svg": ("drain", (SUBJECT, PLAIN), _reconnects),
}
