"""What apps have written since the last look, out of the files that their output goes to. Blocking; off the loop.

A file is the buffer: an app writes to it whether or not anybody reads. Whoever bounds it copies it to `<name>.1` and
cuts it (`legation.runtime.process.bound`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from legation.runtime.control.log_messages import LogRecord
from telemetry.logs import line

Place = tuple[int, int, int]
"""Of a file: its inode, how many bytes were read, and when its copy was made."""
Writer = tuple[str, str, str]
"""Service, instance, version."""

_STREAMS = {"app.log": "stdout", "app.stderr.log": "stderr"}
"""The files that an app's output goes to."""

AT_ONCE = 1 << 20
"""Bytes of one file at a look: a loud app may not hold up the others."""
LONGEST_LINE = 64 * 1024
"""Bytes after which a line is taken as it is, though it has not ended."""


@dataclass
class Tail:
    """Follows the files of all instances of a host."""

    folder: Path
    writer: Callable[[str], Writer]
    places: dict[str, Place] = field(default_factory=dict)

    def read(self, now: float) -> tuple[list[LogRecord], dict[str, Place]]:
        """Return new lines, and how far each file was read for them; `done` has it so for the next look."""
        records: list[LogRecord] = []
        places: dict[str, Place] = {}
        for file in sorted(file for name in _STREAMS for file in self.folder.glob(f"*/{name}")):
            seen = self.places.get(str(file))
            lines, place = _new_lines(file, seen)
            if place != seen:
                places[str(file)] = place
            service, instance, version = self.writer(file.parent.name) if lines else ("", "", "")
            records += [
                line.record(
                    text, service=service, instance=instance, version=version, now=now, stream=_STREAMS[file.name]
                )
                for text in lines
                if text
            ]
        return records, places

    def done(self, places: dict[str, Place]) -> None:
        """Go on from there."""
        self.places.update(places)


def _new_lines(file: Path, seen: Place | None) -> tuple[list[bytes], Place]:
    """Return the whole lines that a file has got; what was left of one that was cut since is in its copy."""
    size, inode = _state(file)
    copied, copy = _copied(file), file.with_name(file.name + ".1")
    if seen is None:
        seen = (inode, 0, copied)
    place, before = seen[1], list[bytes]()
    # while it is copied the file is as long as its copy: it is cut only then
    was_cut = place > size or (copied != seen[2] and size < _state(copy)[0])
    if was_cut or inode != seen[0]:
        before = list(_lines(_read(copy, place), last=True)) if was_cut else []
        place = 0
    elif place == size:
        return [], seen
    data = _read(file, place)
    whole = list(_lines(data))
    read = sum(len(text) + 1 for text in whole) - int(len(whole) > data.count(b"\n"))
    return [*before, *whole], (inode, place + read, copied if was_cut else seen[2])


def _state(file: Path) -> tuple[int, int]:
    """Return how long a file is, and its inode; (0, 0) where there is none."""
    try:
        state = file.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_ino


def _copied(file: Path) -> int:
    """Return when the copy of a file was made, in nanoseconds; 0 where there is none."""
    try:
        return file.with_name(file.name + ".1").stat().st_mtime_ns
    except OSError:
        return 0


def _read(file: Path, place: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(place)
            return opened.read(AT_ONCE)
    except OSError:
        return b""


def _lines(data: bytes, *, last: bool = False) -> Iterator[bytes]:
    """Yield whole lines; what has not ended too where it is long, or the `last`."""
    *whole, rest = data.split(b"\n")
    yield from whole
    if rest and (last or len(rest) >= LONGEST_LINE):
        yield rest
