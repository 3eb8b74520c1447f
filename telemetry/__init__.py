"""telemetry: makes what flows through the mesh visible."""
