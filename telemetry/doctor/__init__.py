"""`legation telemetry doctor`: one request, and what became of it in everything that measures."""
