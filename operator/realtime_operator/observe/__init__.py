"""What is there: Kubernetes' objects and the nodes' own words, brought into one snapshot."""
