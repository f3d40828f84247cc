"""Run by `helm test`: a replica holds the lease, and RealtimeClusters can be listed."""

import os
import sys
import time

from kubernetes import client, config

DEADLINE_S = 45.0


def main() -> int:
    """Return the exit status: 0 as soon as both hold, 1 if they do not in time."""
    config.load_incluster_config()
    leases, resources = client.CoordinationV1Api(), client.CustomObjectsApi()
    until = time.monotonic() + DEADLINE_S
    problem = "the lease was not looked at"
    while time.monotonic() < until:
        try:
            lease = leases.read_namespaced_lease(os.environ["LEASE"], os.environ["NAMESPACE"])
            watched = os.environ["WATCHED"]
            kind = ("realtimecluster.dev", "v1alpha1")
            if watched:
                clusters = resources.list_namespaced_custom_object(
                    *kind, watched, "realtimeclusters"
                )
            else:
                clusters = resources.list_cluster_custom_object(*kind, "realtimeclusters")
        except client.ApiException as error:
            problem = f"{error.status} {error.reason}: {error.body}"
        else:
            if holder := lease.spec.holder_identity:
                print(f"{holder} looks after {len(clusters['items'])} clusters")
                return 0
            problem = "no replica holds the lease"
        time.sleep(1)
    print(f"failed: {problem}", file=sys.stderr)
    return 1


sys.exit(main())
