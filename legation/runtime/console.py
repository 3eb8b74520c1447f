"""How a process speaks to a person: exit codes with one meaning, and lines on stderr."""

import sys
from enum import IntEnum


class Exit(IntEnum):
    """What an exit code means, in every output format (design §8)."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    FINDINGS = 3
    UNREACHABLE = 4
    TIMEOUT = 5


def chatter(text: str) -> None:
    """Say something to a person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
