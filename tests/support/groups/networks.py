"""Machines of a group as namespaces of the network, which can be cut off from each other.

Rule: needs Linux, root and iproute2; `can_be_made` says whether they are there. Nothing of the real
network is touched: the machines hang on a bridge of their own, whose names and addresses are free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.places import Place

SUBNETS = range(1, 250)
MACHINES = 20
"""As many a group may have."""

PORT, BUS_PORT = 6379, 16379


@cache
def can_be_made() -> bool:
    """Say whether this machine lets us make networks."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        return False
    name = f"everfold-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


class Network:
    """A bridge with one machine for each place."""

    def __init__(self) -> None:
        self._lock, self._number = _free_subnet()
        self._bridge = f"efold{self._number}"
        self._count = 0
        self._remove(MACHINES)  # of a test that was killed together with its shell
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self._address(254)}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def place(self) -> Place:
        """Make a machine and return where its server listens."""
        self._count += 1
        name, cable = self._machine(self._count), self._cable(self._count)
        _ip("netns", "add", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self._bridge, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{self._address(self._count)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        before = ("ip", "netns", "exec", name)
        return Place(self._address(self._count), PORT, BUS_PORT, before)

    def cut_off(self, place: Place) -> None:
        """Let nothing reach this machine, nor leave it: no connection is closed by it."""
        _ip("link", "set", self._cable(self._number_of(place)), "down")

    def cut_between(self, one: Place, other: Place) -> None:
        """Let nothing pass between two machines; both still reach this one, where the test is."""
        for here, there in ((one, other), (other, one)):
            name = self._machine(self._number_of(here))
            _ip("-n", name, "route", "replace", "blackhole", f"{there.host}/32")

    def join(self, place: Place) -> None:
        """Undo everything that was cut at this machine."""
        mine = self._number_of(place)
        _ip("link", "set", self._cable(mine), "up")
        for other in range(1, self._count + 1):
            self._unblocked(self._machine(mine), self._address(other))
            self._unblocked(self._machine(other), self._address(mine))

    def undoing(self) -> str:
        """Return the shell commands that remove it."""
        return "; ".join(f"ip {' '.join(arguments)}" for arguments in self._undoing(self._count))

    def close(self) -> None:
        self._remove(self._count)
        os.close(self._lock)

    def _undoing(self, count: int) -> Iterator[tuple[str, ...]]:
        for number in range(1, count + 1):
            # The machine alone would take its cable with it, but later.
            yield ("link", "del", self._cable(number))
            yield ("netns", "del", self._machine(number))
        yield ("link", "del", self._bridge)

    def _remove(self, count: int) -> None:
        for arguments in self._undoing(count):
            subprocess.run(["ip", *arguments], capture_output=True)

    def _unblocked(self, machine: str, address: str) -> None:
        # Fails where there is no such route.
        subprocess.run(
            ["ip", "-n", machine, "route", "del", "blackhole", f"{address}/32"], capture_output=True
        )

    def _machine(self, number: int) -> str:
        return f"everfold-{self._number}-{number}"

    def _cable(self, number: int) -> str:
        return f"ef{self._number}-{number}"

    def _address(self, last: int) -> str:
        return f"10.213.{self._number}.{last}"

    def _number_of(self, place: Place) -> int:
        return int(place.host.rpartition(".")[2])


def _free_subnet() -> tuple[int, int]:
    """Lock the first subnet that no other process has; return the lock and its number."""
    folder = Path(tempfile.gettempdir(), f"everfold-subnets-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for lock, number in _locks(folder):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lock, number
    raise RuntimeError("all subnets for tests are taken")


def _locks(folder: Path) -> Iterator[tuple[int, int]]:
    for number in SUBNETS:
        yield os.open(folder / str(number), os.O_CREAT | os.O_RDWR), number


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
