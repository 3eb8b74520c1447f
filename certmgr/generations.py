"""The embedded OpenBaos of a mesh, by number: the second follows the first before the first one's root ends.

Each is a server of its own, with data, keys and a root of its own, so that a new root needs nobody who may make
one: a new server is set up as the first one was. certmgr says which are to run, `legation up` runs those and
removes the data of all others.
"""

from certmgr.issue.vault import Address
from certmgr.store import write
from legation.runtime.embedded import desired, desired_file
from legation.runtime.state import StateFolder

_URL = "embedded:"
"""How the URL of an embedded OpenBao begins, where a roll-over speaks of it."""


def url(number: int) -> str:
    """Return what a roll-over calls one: nothing for the first, which is the Vault of certmgr's settings."""
    return "" if number == 1 else f"{_URL}{number}"


def number_of(called: str) -> int | None:
    """Return the number of the one that a URL means; None for that of the settings and for any other Vault."""
    digits = called.removeprefix(_URL)
    return int(digits) if called.startswith(_URL) and digits.isdigit() else None


def address(state: StateFolder, number: int) -> Address:
    """Return where the API of one is."""
    return Address(socket=str(state.bao_socket(number)))


def after(state: StateFolder, number: int) -> int:
    """Return the number of the one that follows: one that was begun, else the next of which no data are left.

    `legation up` takes a moment to end one that was called off and to remove its data, which are of no more use.
    """
    begun, following = desired(state), number + 1
    while following not in begun and state.openbao(following).exists():
        following += 1
    return following


def want(state: StateFolder, numbers: tuple[int, ...]) -> None:
    """Have these run, and no others: the data of the others is removed."""
    if desired(state) != numbers:
        write(desired_file(state), " ".join(map(str, numbers)).encode())
