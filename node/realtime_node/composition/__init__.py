"""The composition of a node: its settings become parts here, for `app` and nobody else."""
