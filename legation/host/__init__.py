"""A whole mesh on one host: `legation up`."""
