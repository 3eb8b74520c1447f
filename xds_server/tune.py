"""How this process uses Python: set once, as it starts."""

import gc

_YOUNG, _MIDDLE, _OLD = 100_000, 20, 100


def tune() -> None:
    """Collect garbage in larger portions.

    Most of what is here lives long (resources, streams), and a change makes tens of thousands of objects
    that reference counting frees by itself; with Python's own thresholds the collector walked through it
    all for an eighth of the processor time of a fan-out.
    """
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
