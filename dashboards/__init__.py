"""Grafana dashboards, by grafanalib behind one thin typed file."""
