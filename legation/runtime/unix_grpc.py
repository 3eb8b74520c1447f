"""A gRPC server on a unix socket that only its owner can open."""

import os
import socket
from pathlib import Path

import grpc


def listen_unix(server: grpc.aio.Server, path: Path) -> str:
    """Listen with mode 0600, in place of a dead socket; OSError when another process serves it."""
    with socket.socket(socket.AF_UNIX) as probe:
        if path.is_socket() and probe.connect_ex(str(path)) == 0:
            raise OSError(f"{path} is served by another process")
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return f"unix:{path}"
