"""`python -m tests.fuzz.keep FOLDER`: make a folder of inputs the committed corpus."""

import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus.hex"


def main(folder: Path) -> None:
    inputs = {path.read_bytes() for path in folder.iterdir()} - {b""}
    CORPUS.write_text("".join(f"{data.hex()}\n" for data in sorted(inputs, key=lambda data: (len(data), data))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
