"""A metrics adapter: what a HorizontalPodAutoscaler asks Kubernetes for, of what Prometheus reads.

    HorizontalPodAutoscaler -> API server (APIService) -> here, in the tests' process -> /metrics

It answers as prometheus-adapter does, with the same names and labels, but of what the operator's
Pods tell at that moment instead of what a Prometheus has stored: whose series is of the asking
namespace and has the labels that are asked for, and of several replicas' the highest. A metric that
nobody has is an empty list, and no zero.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import write_certificates
from tests.support.kubernetes.cluster import Cluster

GROUP: Final = "external.metrics.k8s.io"
VERSION: Final = "v1beta1"
ROOT: Final = f"/apis/{GROUP}/{VERSION}"
SERVICE: Final = "external-metrics"
AVAILABLE_S: Final = 60.0
ANSWER_S: Final = 2.0


class ExternalMetrics:
    """The metrics API, until it is stopped."""

    def __init__(self, session: aiohttp.ClientSession, sources: Sequence[str]) -> None:
        """Made by `external_metrics`."""
        self.is_mute = False
        """Whether there are no values, as when Prometheus has none."""
        self.answers = 0
        """How often a value was told."""
        self._session = session
        self._sources = sources

    def app(self) -> web.Application:
        """What is served."""
        app = web.Application()
        app.router.add_get(ROOT, self._discover)
        app.router.add_get(f"{ROOT}/namespaces/{{namespace}}/{{metric}}", self._tell)
        return app

    async def _discover(self, _: web.Request) -> web.Response:
        """The API server asks this to see whether anybody is there."""
        return web.json_response(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/{VERSION}",
                "resources": [],
            }
        )

    async def _tell(self, request: web.Request) -> web.Response:
        metric = request.match_info["metric"]
        labels = _labels(request.query.get("labelSelector", ""))
        labels["namespace"] = request.match_info["namespace"]
        values = [] if self.is_mute else await self._values(metric, labels)
        items = [_item(metric, labels, max(values))] if values else []
        self.answers += len(items)
        return web.json_response(
            {
                "kind": "ExternalMetricValueList",
                "apiVersion": f"{GROUP}/{VERSION}",
                "metadata": {},
                "items": items,
            }
        )

    async def _values(self, metric: str, labels: Mapping[str, str]) -> list[float]:
        texts = await asyncio.gather(*map(self._read, self._sources))
        return [
            sample.value
            for text in texts
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        ]

    async def _read(self, source: str) -> str:
        limit = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with self._session.get(source, timeout=limit) as answer:
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return ""


def _labels(selector: str) -> dict[str, str]:
    """What `matchLabels` of a HorizontalPodAutoscaler have become: a=b,c=d."""
    return dict(each.split("=", 1) for each in selector.split(",") if each)


def _item(metric: str, labels: Mapping[str, str], value: float) -> dict[str, Any]:
    return {
        "metricName": metric,
        "metricLabels": dict(labels),
        "timestamp": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "value": f"{round(value * 1000)}m",
    }


@asynccontextmanager
async def external_metrics(
    cluster: Cluster, namespace: str, sources: Sequence[str]
) -> AsyncIterator[ExternalMetrics]:
    """Be the external metrics of a cluster within the block; `sources` are URLs of /metrics.

    The cluster's API server has to reach this machine at the address from which this machine
    reaches the API server.
    """
    async with aiohttp.ClientSession() as session:
        made = ExternalMetrics(session, sources)
        runner = web.AppRunner(made.app(), access_log=None)
        await runner.setup()
        try:
            with TemporaryDirectory() as directory:
                name = f"{SERVICE}.{namespace}.svc"
                authority = write_certificates(Path(directory), name).read_bytes()
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(f"{directory}/server.pem", f"{directory}/server.key")
            address = await asyncio.to_thread(_address_towards, cluster)
            await web.TCPSite(runner, address, 0, ssl_context=context).start()
            manifests = _manifests(namespace, runner.addresses[0], authority)
            try:
                for manifest in manifests:
                    await asyncio.to_thread(cluster.apply, manifest)
                what = f"apiservice/{VERSION}.{GROUP}"
                await asyncio.to_thread(
                    cluster.wait, what, "condition=Available", namespace, within_s=AVAILABLE_S
                )
                yield made
            finally:
                for manifest in reversed(manifests):
                    kind, name = manifest["kind"], manifest["metadata"]["name"]
                    delete = ("delete", kind, name, "--namespace", namespace, "--ignore-not-found")
                    await asyncio.to_thread(cluster.kubectl, *delete)
        finally:
            await runner.cleanup()


def _address_towards(cluster: Cluster) -> str:
    """This machine's address on the way to the API server."""
    server = cluster.kubectl(
        "config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"
    )
    where = urlsplit(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((where.hostname, where.port or 443))  # sends nothing
        address: str = way.getsockname()[0]
        return address


def _manifests(namespace: str, place: tuple[str, int], authority: bytes) -> list[dict[str, Any]]:
    """A Service that leads here, and the APIService behind which it is."""
    address, port = place
    named = {"name": SERVICE, "namespace": namespace}
    of_service = {**named, "labels": {"kubernetes.io/service-name": SERVICE}}
    service = {"name": SERVICE, "namespace": namespace, "port": 443}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": of_service,
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": service,
                "caBundle": base64.b64encode(authority).decode(),
            },
        },
    ]
