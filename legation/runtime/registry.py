"""The registry that each of our services counts in."""

from prometheus_client import CollectorRegistry, ProcessCollector


def metrics_registry() -> CollectorRegistry:
    """Return a registry that knows the process: its memory, its CPU time, its files, when it started."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
