"""What the operator tells about itself: instruments for Prometheus, and its log."""
