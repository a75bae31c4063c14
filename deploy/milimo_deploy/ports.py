"""Ports of this machine: which are free, and free ones to use."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address on which nothing listens.

    They are only free now: whoever binds first has them.
    """
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            # All are held until the last is found, so that none comes twice.
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports


def is_free(address: str) -> bool:
    """Whether a process could listen at "host:port"."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # As servers do: a port whose last connections are still closing counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
        except OSError:
            return False
    return True
