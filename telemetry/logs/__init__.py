"""Central logs: access logs over OTLP and the lines of apps, in a bounded store, and on to the team's own receiver."""
