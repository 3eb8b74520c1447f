"""A gRPC server on a unix socket that only its owner can open."""

import os
from pathlib import Path

import grpc

from legation.runtime.unix_socket import is_served


def listen_unix(server: grpc.aio.Server, path: Path) -> str:
    """Listen with mode 0600, in place of a dead socket; OSError when another process serves it."""
    if path.is_socket() and is_served(path):
        raise OSError(f"{path} is served by another process")
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return f"unix:{path}"
