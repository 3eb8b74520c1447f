"""Mesh to Envoy protos, one feature a file."""
