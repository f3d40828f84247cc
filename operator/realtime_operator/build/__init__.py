"""The Kubernetes objects of a cluster, as functions of its spec: pure, and the same every time."""
