"""`stack.py [NAME=PROGRAM...]`: images of the programs of profile full, from what this machine has of them.

For tests where no image can be pulled: Debian's Prometheus, Alertmanager and Redis, and what `make jaeger loki
ratelimit` built. Each has its program where the public image has it, the libraries that it is linked with, and nothing
else. They are called legation-test-<name>; one that cannot be made is said and left out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rootfs import copy, libraries

NOBODY, OURS = 65534, 10001
_TEMPLATES = tuple(f"/usr/share/prometheus/alertmanager/{name}.tmpl" for name in ("default", "email"))


@dataclass(frozen=True)
class Image:
    """Programs (where they are in the image: what they are called here), whose they are run as, and its folders."""

    programs: Mapping[str, str]
    user: int
    folders: tuple[str, ...] = ()
    entrypoint: bool = True
    data: tuple[str, ...] = ()
    """Files that the program is built to find, where they are here."""


IMAGES = {
    "prometheus": Image({"/bin/prometheus": "prometheus", "/bin/promtool": "promtool"}, NOBODY, ("/prometheus",)),
    "alertmanager": Image(
        {"/bin/alertmanager": "prometheus-alertmanager", "/bin/amtool": "amtool"},
        NOBODY,
        ("/alertmanager",),
        data=_TEMPLATES,
    ),
    "redis": Image(
        {"/usr/local/bin/redis-server": "redis-server", "/usr/local/bin/redis-cli": "redis-cli"}, OURS, (), False
    ),
    "jaeger": Image({"/go/bin/all-in-one-linux": "jaeger"}, OURS),
    "loki": Image({"/usr/bin/loki": "loki"}, OURS, ("/loki",)),
    "ratelimit": Image({"/bin/ratelimit": "ratelimit"}, OURS, (), False),
}


def make(name: str, image: Image, given: Mapping[str, str]) -> str | None:
    """Make an image; return what is missing for it, or None."""
    found = {at: given.get(called) or shutil.which(called) for at, called in image.programs.items()}
    missing = [image.programs[at] for at, program in found.items() if program is None]
    if missing:
        return ", ".join(missing)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for at, program in found.items():
            _install(root, at, Path(str(program)).resolve())
        for file in map(Path, image.data):
            if file.exists():
                copy(file, root)
        _furnish(root, image)
        first = next(iter(image.programs))
        changes = [f"USER {image.user}", "ENV PATH=/bin:/usr/bin:/usr/local/bin"]
        changes.append(f"{'ENTRYPOINT' if image.entrypoint else 'CMD'} {json.dumps([first])}")
        _import(root, f"legation-test-{name}", changes)
    return None


def _install(root: Path, at: str, program: Path) -> None:
    target = root / at.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(program, target)
    target.chmod(0o755)
    for library in libraries([program]):
        copy(library, root)


def _furnish(root: Path, image: Image) -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "tmp").mkdir(mode=0o1777, exist_ok=True)
    for folder in image.folders:
        made = root / folder.lstrip("/")
        made.mkdir(parents=True)
        os.chown(made, image.user, image.user)


def _import(root: Path, tag: str, changes: list[str]) -> None:
    words = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:  # noqa: S607
        command = ["docker", "import", *words, "-", tag]
        subprocess.run(command, stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    programs = dict(word.split("=", 1) for word in sys.argv[1:])
    for name, image in IMAGES.items():
        if (missing := make(name, image, programs)) is not None:
            sys.stderr.write(f"no image legation-test-{name}: no {missing} here\n")
