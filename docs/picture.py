"""Writes docs/up.svg from a shop that really runs (`make picture`): one that it starts, and ends."""

import subprocess
import sys
import tempfile
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from legation.cli.find import ask_status
from legation.host.picture import svg
from legation.runtime.state import StateFolder

HERE = Path(__file__).parent
LEGATION = (sys.executable, "-m", "legation.cli.main")
SHOP = HERE.parent / "examples" / "shop" / "mesh.yaml"


def main() -> None:
    """Start the shop, send it some requests, take its picture, end it."""
    with tempfile.TemporaryDirectory() as folder:
        state = StateFolder(Path(folder))
        words = ("up", "-d", "--wait", "180", "--gateway-port", "0", "-f", str(SHOP), "--state", folder)
        subprocess.run([*LEGATION, *words], check=True)
        try:
            gateway = str(ask_status(state).gateway)
            for _ in range(40):
                urllib.request.urlopen(gateway, timeout=10).read()  # noqa: S310 - our own gateway
            (HERE / "up.svg").write_text(svg(ask_status(state), datetime.now(UTC)))
        finally:
            subprocess.run([*LEGATION, "down", "--state", folder], check=True)


if __name__ == "__main__":
    main()
