"""The typed model of mesh.yaml: one feature a file, the only place with its default, bounds and meaning."""
