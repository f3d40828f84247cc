"""Where the tests' cluster comes from: one that is given, else kind, else the lab.

A cluster that is given (KUBECONFIG) is used as it is, and has to have the images. kind and the lab
get images that are built here; one that is up already stays up, and one that was started for the
tests is ended after them. REALTIME_TEST_CLUSTER=lab takes the lab where kind is there too: some
tests break what only the lab lets them break.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.kubernetes.cluster import ROOT, Cluster, Images
from tests.support.kubernetes.lab import Lab
from tests.support.prerequisites import require

WHICH: Final = "REALTIME_TEST_CLUSTER"
LAB: Final = ROOT / "tests/kubernetes/lab/kubelab"
KIND_CLUSTER: Final = "realtime"
KIND_CONFIG: Final = ROOT / "kind-config.yaml"
BUILT: Final = Images(
    node="localhost/realtime-node:lab",
    operator="localhost/realtime-operator:lab",
    redis="localhost/realtime-redis:lab",
)
BUILDS: Final = {
    BUILT.node: (".", "node/Dockerfile"),
    BUILT.operator: (".", "operator/Dockerfile"),
    BUILT.redis: ("tests/kubernetes/images", "tests/kubernetes/images/redis.Dockerfile"),
}
"""What is built of which folder by which Dockerfile."""
BUILD_S: Final = 600
FIRST_UP_S: Final = 3000
"""The lab's first start builds Kubernetes."""


@contextmanager
def open_cluster() -> Iterator[Cluster]:
    """A cluster with the images in it; skips, or fails under CI, where there can be none."""
    if given := os.environ.get("KUBECONFIG"):
        yield _given(Path(given))
    elif os.environ.get(WHICH) != "lab" and shutil.which("kind") and _succeeds("docker", "info"):
        yield from _kind()
    else:
        yield from _lab()


def _given(kubeconfig: Path) -> Cluster:
    names = {part: f"REALTIME_{part.upper()}_IMAGE" for part in Images._fields}
    missing = [name for name in names.values() if not os.environ.get(name)]
    require(not missing, f"name images that the cluster of KUBECONFIG can pull: {missing}")
    kubectl = require("kubectl", "install kubectl")
    helm = require("helm", "install helm 3.14 or newer")
    images = Images(**{part: os.environ[name] for part, name in names.items()})
    return Cluster(kubeconfig, kubectl, helm, images, are_services_reachable=False)


def _kind() -> Iterator[Cluster]:
    kubectl = require("kubectl", "install kubectl")
    helm = require("helm", "install helm 3.14 or newer")
    kubeconfig = ROOT / ".cache/kind/kubeconfig"
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    was_up = KIND_CLUSTER in _said("kind", "get", "clusters").split()
    if not was_up:
        config = ("--name", KIND_CLUSTER, "--config", str(KIND_CONFIG), "--wait", "3m")
        _do("kind", "create", "cluster", *config, "--kubeconfig", str(kubeconfig), within_s=600)
    else:
        kubeconfig.write_text(_said("kind", "get", "kubeconfig", "--name", KIND_CLUSTER))
    try:
        for tag, (folder, file) in BUILDS.items():
            _do(
                "docker", "build", "--quiet", "--tag", tag, "--file", file, folder, within_s=BUILD_S
            )
            _do("kind", "load", "docker-image", "--name", KIND_CLUSTER, tag, within_s=BUILD_S)
        yield Cluster(kubeconfig, kubectl, helm, BUILT, are_services_reachable=False)
    finally:
        if not was_up:
            _do("kind", "delete", "cluster", "--name", KIND_CLUSTER, within_s=BUILD_S)


def _lab() -> Iterator[Cluster]:
    require(os.geteuid() == 0, "run as root for the lab, or install kind and Docker")
    missing = subprocess.run([LAB, "needs"], capture_output=True, text=True, check=False)
    require(missing.returncode == 0, missing.stderr.strip())
    was_up = _succeeds(str(LAB), "parts")
    try:
        _do(str(LAB), "up", within_s=FIRST_UP_S)
        for tag, (folder, file) in BUILDS.items():
            _do(str(LAB), "image", tag, folder, "--file", file, within_s=BUILD_S)
        environment = dict(
            line.split("=", 1) for line in _said(str(LAB), "environment").splitlines()
        )
        path = environment["PATH"]
        yield Cluster(
            Path(environment["KUBECONFIG"]),
            shutil.which("kubectl", path=path) or "kubectl",
            shutil.which("helm", path=path) or "helm",
            BUILT,
            are_services_reachable=True,
            lab=Lab(LAB),
        )
    finally:
        if not was_up:
            _do(str(LAB), "down", within_s=BUILD_S)


def _do(*command: str, within_s: float) -> None:
    subprocess.run(command, cwd=ROOT, check=True, timeout=within_s)


def _said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0
