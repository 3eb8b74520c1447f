"""What a sidecar's Envoy loads: dynamic modules, compiled from the C beside them (`make modules`)."""

import platform
from pathlib import Path


def lines_module() -> str:
    """Return the path of what watches the lines of HTTP/1, for this machine; nothing where none was made for it."""
    module = Path(__file__).with_name(f"http1_lines-{platform.machine()}.so")
    return str(module) if module.exists() else ""
