"""A real Kubernetes for tests: where it comes from, and what is asked of it."""
