"""Import this first in a process that runs for as long as the mesh does: it keeps out what nobody there uses.

structlog loads rich and its syntax highlighting (6 MB) for tracebacks on a terminal, wherever rich is installed.
"""

import sys

if "structlog" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say: not here
    import structlog  # noqa: F401

    del sys.modules["rich"]
