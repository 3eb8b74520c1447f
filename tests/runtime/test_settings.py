"""Settings come from flags, then the environment, then defaults."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from legation.runtime.settings import load


@dataclass(frozen=True)
class Settings:
    """A service."""

    listen: str = field(metadata={"help": "host:port"})
    folder: Path = Path("/var")
    limit: float = 1.5
    loud: bool = False


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    given = load(Settings, "X", ["--limit", "3"], {"X_LISTEN": "a:1", "X_LIMIT": "2", "X_LOUD": "yes", "LISTEN": "no"})
    assert given == Settings("a:1", Path("/var"), 3.0, loud=True)


def test_what_is_missing_is_said_and_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(Settings, "X", [], {})
    assert ended.value.code == 2
    assert "--listen" in capsys.readouterr().err
