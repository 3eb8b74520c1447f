"""Runs the shop with a real Prometheus, under traffic with faults; keeps what its panels get, and draws it.

python -m docs.pictures            both
python -m docs.pictures draw       once more from what was kept
"""

import json
import sys
import tempfile
from pathlib import Path

from docs.pictures.ask import Answers, answers
from docs.pictures.draw import draw
from docs.pictures.shop import watched

ROOT = Path(__file__).parents[2]
KEPT, SHOWN = ROOT / "build" / "pictures.json", ROOT / "docs" / "img"
SECONDS = 200
CHOSEN = {"service": "orders", "source": "web", "destination": "orders"}


def main(words: list[str]) -> None:
    """Ask, unless told to draw alone; then draw."""
    if words != ["draw"]:
        with tempfile.TemporaryDirectory() as folder, watched(Path(folder), SECONDS) as shop:
            found = answers(shop, {**CHOSEN, "instance": shop.instance})
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(found))
    kept: Answers = json.loads(KEPT.read_text())
    SHOWN.mkdir(exist_ok=True)
    for board in kept["boards"]:
        file = SHOWN / f"{board['name']}.png"
        draw(board, kept, file)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")  # noqa: T201 - the command's output


if __name__ == "__main__":
    main(sys.argv[1:])
