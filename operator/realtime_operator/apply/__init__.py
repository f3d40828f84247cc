"""What the operator does to the world: calls to the API server and to the nodes."""
