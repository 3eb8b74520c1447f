"""`pick.py LOCKFILE NAME...`: the entries of a lock file for some packages and all that these need, with their hashes.

So an image holds the very versions that everything else runs on, and none that it has no use for.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?===)")
_VIA = re.compile(r"#\s+(?:via\s+)?([A-Za-z0-9][A-Za-z0-9._-]*)\s*$")


def entries(text: str) -> Mapping[str, tuple[str, frozenset[str]]]:
    """Return each package's entry, and the packages that it is there for (`# via`)."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if (name := _NAME.match(entry)) is not None:
            lines = [line.strip() for line in entry.splitlines()]
            via = frozenset(m[1] for line in lines if line.startswith("#") and (m := _VIA.match(line)))
            found[name[0]] = entry, via
    return found


def pick(text: str, names: Iterable[str]) -> str:
    """Return the entries of some packages and of all that these need; KeyError for one that is not locked.

    A name after a dash is left out, with what is there for it alone.
    """
    asked = list(names)
    omitted = {name.removeprefix("-") for name in asked if name.startswith("-")}
    wanted = [name for name in asked if not name.startswith("-")]
    known = {name: entry for name, entry in entries(text).items() if name not in omitted}
    for name in wanted:
        if name not in known:
            raise KeyError(name)
        wanted += [other for other, (_, via) in known.items() if name in via and other not in wanted]
    return "\n".join(known[name][0] for name in sorted(set(wanted))) + "\n"


if __name__ == "__main__":
    sys.stdout.write(pick(Path(sys.argv[1]).read_text(), sys.argv[2:]))
