"""A package, so that its tests can share a cluster that ends with the last of them."""
