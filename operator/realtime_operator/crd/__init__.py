"""The RealtimeCluster as users write it, and the definition the API server checks it against."""
