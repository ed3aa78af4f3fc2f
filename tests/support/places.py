"""Where the servers of a group listen: ports of this machine that nobody else takes.

Rule: a port is below those that the kernel gives to connections, so that a killed server finds its
own one free; and it is locked while this process lives, so that no other test takes it meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from msgspec import Struct

FIRST_PORT, LAST_PORT = 10_000, 32_000


class Place(Struct, frozen=True):
    """Where one server listens."""

    host: str
    port: int
    bus_port: int
    """Where the other nodes of its cluster reach it."""
    before: tuple[str, ...] = ()
    """What starts a program there; empty on this machine."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Ports:
    """Ports that are this process's own until `close`."""

    def __init__(self) -> None:
        self._locks: list[int] = []

    def place(self) -> Place:
        """Return a place of its own on loopback."""
        return Place("127.0.0.1", self._port(), self._port())

    def _port(self) -> int:
        while True:
            port = random.randrange(FIRST_PORT, LAST_PORT)
            if self._locked(port) and _is_free(port):
                return port

    def _locked(self, port: int) -> bool:
        folder = Path(tempfile.gettempdir(), f"everfold-ports-{os.getuid()}")
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks.append(lock)
        return True

    def close(self) -> None:
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
