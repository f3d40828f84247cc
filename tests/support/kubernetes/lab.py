"""The lab below a cluster: what a test can break there that no API server would do for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

COMMAND_S: Final = 60.0


class Lab(NamedTuple):
    """A cluster that `tests/kubernetes/lab/kubelab` has started."""

    program: Path

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """Stop a part, such as `apiserver`, within the block."""
        self._do("stop", part)
        try:
            yield
        finally:
            self._do("start", part)

    def send(self, signal: str, pod: Mapping[str, Any]) -> None:
        """Send a signal, such as `SIGKILL`, to the first process of a Pod's only container.

        From within the container that process could be neither killed nor stopped.
        """
        machine, container = _place(pod)
        self._do("ctr", machine, "tasks", "kill", "--signal", signal, container)

    def inside(self, pod: Mapping[str, Any], *command: str) -> list[str]:
        """What runs a command of this machine in the network of a Pod."""
        return [str(self.program), "in", *_place(pod), *command]

    def do_inside(self, pod: Mapping[str, Any], *command: str, given: str = "") -> None:
        """Run a command in the network of a Pod, with `given` on its standard input."""
        subprocess.run(
            self.inside(pod, *command), input=given, check=True, text=True, timeout=COMMAND_S
        )

    def _do(self, *arguments: str) -> None:
        subprocess.run([self.program, *arguments], check=True, timeout=COMMAND_S)


def _place(pod: Mapping[str, Any]) -> tuple[str, str]:
    """The lab's number of a Pod's machine, and what containerd calls the Pod's only container."""
    machine = pod["spec"]["nodeName"].removeprefix("lab-")
    container = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    return machine, container
