"""Which embedded OpenBaos there are to be: certmgr says it (`certmgr/generations.py`), `legation up` runs them."""

from pathlib import Path

from legation.runtime.state import StateFolder

NEEDS_DEV = (
    "the CA is the embedded OpenBao's, which is for trying things out: say certificates: {dev: true} in mesh.yaml, "
    "or use a Vault or OpenBao of yours (docs/vault.md)"
)
"""Why nobody is enrolled there whose mesh does not say so."""


def desired_file(state: StateFolder) -> Path:
    """Return the file with their numbers."""
    return state.certmgr / "embedded"


def desired(state: StateFolder) -> tuple[int, ...]:
    """Return which are to run, the one in use first; before certmgr has said anything that is the first one."""
    file = desired_file(state)
    return tuple(int(word) for word in file.read_text().split()) if file.exists() else (1,)
