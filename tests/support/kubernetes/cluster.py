"""A Kubernetes cluster as its user sees it: kubectl and helm, each call with a deadline."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from tests.support.kubernetes.lab import Lab

ROOT: Final = Path(__file__).resolve().parents[3]
CHARTS: Final = ROOT / "charts"
RESTRICTED: Final = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}


class CommandFailed(Exception):
    """A command ended with another status than 0; the message holds what it said."""


class Images(NamedTuple):
    """The images under test, as the cluster's machines have them."""

    node: str
    operator: str
    redis: str


class Cluster(NamedTuple):
    """One cluster."""

    kubeconfig: Path
    kubectl_program: str
    helm_program: str
    images: Images
    are_services_reachable: bool
    """Whether this machine reaches addresses of Services and Pods; else by port-forward."""
    lab: Lab | None = None
    """The lab, where the cluster is one: parts of it can be stopped, and processes killed."""

    def kubectl(self, *arguments: str, given: str = "", within_s: float = 30.0) -> str:
        """Return what kubectl prints, with `given` on its standard input.

        Raises:
            CommandFailed: it ended with another status than 0.
            subprocess.TimeoutExpired: it did not end within `within_s` seconds.
        """
        return self._run([self.kubectl_program, *arguments], given, within_s)

    def helm(self, *arguments: str, within_s: float = 120.0) -> str:
        """Return what helm prints; raises as `kubectl` does."""
        return self._run([self.helm_program, *arguments], "", within_s)

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """One object."""
        found: dict[str, Any] = json.loads(
            self.kubectl("get", kind, name, "--namespace", namespace, "--output=json")
        )
        return found

    def find(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind, those with the labels of `selector` if there is one."""
        command = ("get", kind, "--namespace", namespace, "--output=json", f"--selector={selector}")
        items: list[dict[str, Any]] = json.loads(self.kubectl(*command))["items"]
        return items

    def apply(self, manifest: Mapping[str, Any], *options: str) -> str:
        """Apply a manifest on the server, where a field that it does not know is an error."""
        strict = ("apply", "--server-side", "--validate=strict", "--filename=-")
        return self.kubectl(*strict, *options, given=json.dumps(manifest))

    def make_namespace(self, name: str) -> None:
        """Make a namespace in which Pod Security is restricted, if it is not there."""
        metadata = {"name": name, "labels": RESTRICTED}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def install(self, release: str, chart: str, namespace: str, values: Mapping[str, Any]) -> float:
        """Install or upgrade a chart of this repository; return how many seconds helm took."""
        started = time.monotonic()
        command = [self.helm_program, "upgrade", "--install", release, str(CHARTS / chart)]
        options = ["--namespace", namespace, "--values=-"]
        self._run([*command, *options], yaml.safe_dump(dict(values)), 120.0)
        return time.monotonic() - started

    def wait(self, what: str, condition: str, namespace: str, *, within_s: float) -> None:
        """Wait for `condition`, such as `condition=Available`, of an object such as `rtc/demo`."""
        limit = f"--timeout={within_s:.0f}s"
        options = ("--namespace", namespace, f"--for={condition}", limit)
        self.kubectl("wait", what, *options, within_s=within_s + 10)

    @contextmanager
    def reach(self, service: str, namespace: str, port: int) -> Iterator[str]:
        """HOST:PORT by which this machine reaches a Service.

        That is the Service's own address where this machine has a way to it. Elsewhere a
        port-forward leads to one of its Pods, for as long as that lives.
        """
        if self.are_services_reachable:
            yield f"{self.get('service', service, namespace)['spec']['clusterIP']}:{port}"
            return
        command = [self.kubectl_program, "port-forward", f"service/{service}", f":{port}"]
        forward = subprocess.Popen(
            [*command, "--namespace", namespace],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with forward:
            try:
                assert forward.stdout
                announced = forward.stdout.readline()  # Forwarding from 127.0.0.1:40001 -> 8000
                assert announced, "kubectl port-forward ended at once"
                yield announced.split()[2]
            finally:
                forward.terminate()

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        """The texts of a Secret."""
        data: dict[str, str] = self.get("secret", name, namespace)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def _run(self, command: list[str], given: str, within_s: float) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            command,
            input=given,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout
