"""A fake app: listens as its environment says; `all`: on every address; `once FILE`: only in its second life."""

import os
import signal
import socket
import sys
from pathlib import Path

mode = sys.argv[1] if len(sys.argv) > 1 else ""
if mode == "once" and not Path(sys.argv[2]).exists():
    Path(sys.argv[2]).touch()
    sys.stderr.write("Error: no luck\n")
    sys.exit(3)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
server = socket.create_server(("0.0.0.0" if mode == "all" else os.environ["HOST"], int(os.environ["PORT"])))
signal.sigwait({signal.SIGTERM})
