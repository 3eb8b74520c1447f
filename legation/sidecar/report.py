"""What an instance leaves on its host for `legation status`: one small file, replaced whole."""

from pathlib import Path

import msgspec

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import Pids


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `instances/<id>/state.json`."""

    spec: InstanceSpec
    spiffe_id: str
    pids: Pids
    problem: str | None = None


def write(folder: Path, report: Report) -> None:
    """Replace the report in one step."""
    fresh = folder / "state.json.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    fresh.replace(folder / "state.json")


def read(folder: Path) -> Report | None:
    """Return the report, or None where there is none (of this version)."""
    try:
        return msgspec.json.decode((folder / "state.json").read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None
