"""Atheris on `conversation`: `make fuzz SECONDS=600`. What it finds stays in build/fuzz; what breaks, it prints.

`python -m tests.fuzz.fuzz FOLDER` starts from the committed corpus and FOLDER. After a run, `python -m tests.fuzz.fuzz
-merge=1 SMALL FOLDER` puts into SMALL the least that reaches as much, and `python -m tests.fuzz.keep SMALL` writes that
into corpus.hex.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xds_server", "tests.fuzz"]):
    from tests.fuzz.conversation import converse

from tests.fuzz.keep import CORPUS


def unpack(folder: Path) -> None:
    """Put the committed corpus where atheris reads and writes its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(CORPUS.read_text().split()):
        (folder / f"committed-{number:04}").write_bytes(bytes.fromhex(line))


if __name__ == "__main__":
    unpack(Path(sys.argv[-1]))
    # -merge=1 runs this program again, by its first argument
    atheris.Setup([f"{sys.executable} -m tests.fuzz.fuzz", *sys.argv[1:]], converse)
    atheris.Fuzz()
