"""The operator: keeps the right number of realtime nodes and empties one slowly before it goes.

It reads every node's status, decides from one snapshot how many nodes there should be and which of
them is to drain, and applies the decision to Kubernetes. It never imports the node: the two meet
only on the node's internal HTTP interface.
"""

__version__ = "0.1.0"
