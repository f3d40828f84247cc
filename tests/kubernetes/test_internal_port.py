"""The internal port drains nodes and publishes: few may reach it, and fewer are listened to."""

from __future__ import annotations

import http.client

import pytest

from tests.support.kubernetes.installation import NAMESPACE, Installed
from tests.support.prerequisites import require


def test_a_policy_closes_it(installed: Installed) -> None:
    """The NetworkPolicy opens the public port to all, and the internal one to a few."""
    policy = installed.cluster.get("networkpolicy", "demo", NAMESPACE)["spec"]
    assert policy["podSelector"]["matchLabels"] == {"realtimecluster.dev/cluster": "demo"}
    public, internal = policy["ingress"]
    assert [port["port"] for port in public["ports"]] == [8000]
    assert "from" not in public
    assert [port["port"] for port in internal["ports"]] == [9000]
    assert internal["from"] == [
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": "realtime-system"}
            },
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "realtime-operator"}},
        },
        {"podSelector": {"matchLabels": {"realtimecluster.dev/api-client": "true"}}},
    ]


@pytest.mark.parametrize("path", ["/drain", "/budget", "/api/publish"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong", "X-API-Key": "wrong"}])
def test_it_listens_to_nobody_without_a_key(
    installed: Installed, path: str, headers: dict[str, str]
) -> None:
    """Where no network enforces the policy, orders without the right key are refused."""
    require(
        installed.cluster.are_services_reachable, "run these tests in the lab, which reaches Pods"
    )
    pod = installed.nodes()[0]
    connection = http.client.HTTPConnection(pod["status"]["podIP"], 9000, timeout=5)
    try:
        connection.request("POST", path, body="{}", headers=headers)
        assert connection.getresponse().status == 401
    finally:
        connection.close()


def test_clients_do_not_find_it_on_the_public_port(installed: Installed) -> None:
    """What is on the internal port is not on the public one."""
    require(
        installed.cluster.are_services_reachable, "run these tests in the lab, which reaches Pods"
    )
    service = installed.cluster.get("service", "demo", NAMESPACE)["spec"]["clusterIP"]
    for path in ("/api/publish", "/drain", "/metrics", "/status"):
        connection = http.client.HTTPConnection(service, 8000, timeout=5)
        try:
            connection.request("POST", path, body="{}")
            assert connection.getresponse().status == 404
        finally:
            connection.close()
