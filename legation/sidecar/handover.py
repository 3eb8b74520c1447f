"""How a gateway's Envoy lets go of a port that others share, without losing a connection.

Of several sockets on one port (SO_REUSEPORT) the kernel gives each new connection to one. A socket
that is closed resets what waits in its queue, so first it must get nothing more: a filter on it
drops each SYN (socket(7), SO_ATTACH_FILTER), which the client's kernel repeats after a second, and
which then goes to another socket. We reach Envoy's sockets by pidfd_getfd(2), as its parent may.
"""

import ctypes
import os
import socket
import struct

from legation.sidecar.sockets import all_listening, inodes_of

_SYS_PIDFD_GETFD = 438
_SO_ATTACH_FILTER = 26
_BPF_RET_K = 0x06
_libc = ctypes.CDLL(None, use_errno=True)


def listening_sockets(pid: int, but: int) -> dict[int, socket.socket]:
    """Return a process's listening sockets but one port's, by inode; OSError where the kernel does not let us."""
    descriptors = inodes_of(pid)
    inodes = {s.inode for s in all_listening() if s.port != but} & descriptors.keys()
    pidfd = os.pidfd_open(pid)
    try:
        return {inode: _duplicate(pidfd, descriptors[inode]) for inode in inodes}
    finally:
        os.close(pidfd)


def refuse_new(sock: socket.socket) -> None:
    """Have a listening socket drop every packet: connections in its queue stay, new ones are tried elsewhere."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET_K, 0, 0, 0), 8)
    program = struct.pack("HL", 1, ctypes.addressof(instruction))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def waiting(sockets: dict[int, socket.socket]) -> int:
    """Return how many connections wait to be accepted on these sockets."""
    return sum(s.waiting for s in all_listening() if s.inode in sockets)


def _duplicate(pidfd: int, descriptor: int) -> socket.socket:
    copied = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    if copied < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return socket.socket(fileno=copied)
