"""Prometheus rules and their tests, from mesh.yaml."""
