"""What to do about a cluster: pure functions of one snapshot and the time, each with its reason."""
