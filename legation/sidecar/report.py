"""What an instance leaves on its host for `legation status`: one small file, replaced whole."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from legation.mesh.control import Pids


class Report(BaseModel):
    """The content of `instances/<id>/state.json`."""

    model_config = ConfigDict(frozen=True)

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
    fresh.write_text(report.model_dump_json(indent=2))
    fresh.replace(folder / "state.json")


def read(folder: Path) -> Report | None:
    """Return the report, or None where there is none."""
    file = folder / "state.json"
    return Report.model_validate_json(file.read_text()) if file.exists() else None
