"""Python programs of ours that are there in milliseconds: forked from a process that has imported them already.

Importing is most of what a program costs that lives for seconds. One that is looked at from outside, by its arguments
or its environment, is to be started as a process of its own.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = ("legation.runtime.lean", "certmgr.__main__", "legation.cli.main", "legation.cli.certs_rollover")
"""What is imported once; the first one first, as certmgr does."""
_LONGEST = 1 << 16


class Forked:
    """A running program; to be used as a `subprocess.Popen` is."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self._server, self.pid = server, pid
        self._ended = os.pidfd_open(pid)  # good until it is reaped, which `wait` has done
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = self._server.ask(reap=self.pid)
            os.close(self._ended)
        return self.returncode

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._ended, number)


class _Server:
    """The process that forks, which ends with this one."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one = threading.Lock()
        with there:
            self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=there.fileno(), cwd=ROOT)

    def ask(self, **order: Any) -> int:
        with self._one:
            self._here.send(json.dumps(order).encode())
            return int(self._here.recv(_LONGEST))


@cache
def _server(_: int) -> _Server:
    return _Server()


def start(function: str, argv: list[str], log: Path, env: Mapping[str, str] | None = None) -> Forked:
    """Start `module:function` with these arguments; its output is appended to a file."""
    server = _server(os.getpid())
    environ = dict(os.environ if env is None else env)
    return Forked(server, server.ask(function=function, argv=argv, log=str(log), env=environ))


def _serve(orders: socket.socket) -> None:
    for module in MODULES:
        import_module(module)
    while content := orders.recv(_LONGEST):
        order = json.loads(content)
        if "reap" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _become(**order)
        orders.send(str(answer).encode())


def _become(function: str, argv: list[str], log: str, env: Mapping[str, str]) -> None:
    """Be another program, as far as it can tell."""
    code = 1
    try:
        said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for descriptor, number in ((said, 1), (said, 2), (os.open(os.devnull, os.O_RDONLY), 0)):
            os.dup2(descriptor, number)
        os.environ.clear()
        os.environ.update(env)
        module, _, name = function.partition(":")
        sys.argv = [module, *argv]
        getattr(import_module(module), name)()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=0) as orders:
        _serve(orders)
