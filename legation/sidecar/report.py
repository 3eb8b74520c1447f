"""What an instance leaves on its host for `legation status`: one small file, replaced whole."""

from pathlib import Path

import msgspec

from legation.runtime.control.messages import Pids


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `instances/<id>/state.json`."""

    instance: str
    service: str
    version: str
    boot: str
    address: str
    port: int
    app_port: int
    spiffe_id: str
    pids: Pids
    problem: str | None = None


def write(folder: Path, report: Report) -> None:
    """Replace the report in one step."""
    fresh = folder / "state.json.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    fresh.replace(folder / "state.json")


def read(folder: Path) -> Report | None:
    """Return the report, or None where there is none."""
    file = folder / "state.json"
    return msgspec.json.decode(file.read_bytes(), type=Report) if file.exists() else None
