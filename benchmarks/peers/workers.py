"""The processes of one peer on one server: its workers and its senders.

Rule: each is the leader of a session of its own, so that what it forks ends with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from benchmarks.measuring.server import bench_server
from benchmarks.peers import begin_log, installed
from benchmarks.peers.peer import EVERFOLD, Peer
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect

PAUSE_S = 0.005


class Workers:
    """Starts a peer's programs and ends them all. Its begin log says which jobs have begun."""

    def __init__(self, peer: Peer, redis_url: str, folder: Path) -> None:
        self.peer, self.redis_url = peer, redis_url
        self.begin_log = folder / f"{peer.name}.begin_log"
        self.errors = folder / f"{peer.name}.errors"
        self._all: list[subprocess.Popen[str]] = []

    def work(self, workers: int = 1) -> list[subprocess.Popen[str]]:
        """Start the workers, and for Everfold its projector beside them."""
        if self.peer == EVERFOLD:
            self._start("project")
        return [self._start("work") for _ in range(workers)]

    async def send(self, job: str, count: int, rate: float = 0.0) -> float:
        """Send jobs from a process of its own and return how many seconds it took."""
        sender = self._start("send", job, str(count), str(rate))
        seconds, _ = await anyio.to_thread.run_sync(sender.communicate)
        if sender.returncode:
            raise RuntimeError(f"{self.peer.name} cannot send:\n{self.errors.read_text()[-2000:]}")
        return float(seconds)

    async def until_begun(self, count: int, within_s: float) -> list[begin_log.Begun]:
        """Return the jobs that have begun, once they are so many. Raises TimeoutError."""
        with anyio.move_on_after(within_s):
            while not self._is_over(count):  # noqa: ASYNC110 - other processes make it so
                await anyio.sleep(PAUSE_S)
        if begin_log.count(self.begin_log) < count:
            raise TimeoutError(
                f"{self.peer.name} has begun {begin_log.count(self.begin_log)} of {count} jobs in "
                f"{within_s:g} s:\n{self.errors.read_text()[-2000:]}"
            )
        return begin_log.read(self.begin_log)

    def _is_over(self, count: int) -> bool:
        """Say that so many jobs have begun, or never will: a program has ended by a mistake."""
        broken = any((child.poll() or 0) > 0 for child in self._all)
        return broken or begin_log.count(self.begin_log) >= count

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        with self.errors.open("a") as errors:
            child = subprocess.Popen(
                installed.command(self.peer, *arguments),
                cwd=installed.ROOT,
                env=installed.environ(self.peer, self.redis_url, self.begin_log),
                stdout=subprocess.PIPE if arguments[0] == "send" else subprocess.DEVNULL,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._all.append(child)
        return child

    def close(self) -> None:
        for child in self._all:
            kill(child)


def kill(child: subprocess.Popen[str]) -> None:
    """Kill a program and everything that it has forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextlib.contextmanager
def workers_of(peer: Peer, redis_url: str, folder: Path) -> Iterator[Workers]:
    made = Workers(peer, redis_url, folder)
    try:
        yield made
    finally:
        made.close()


@asynccontextmanager
async def tcp_server() -> AsyncIterator[tuple[str, Path]]:
    """Yield a new server's URL and a folder. Not every peer can speak through a Unix socket."""
    async with bench_server() as (url, folder):
        port = _free_port()
        redis = connect(url)
        await command(redis, "CONFIG SET", "bind", "127.0.0.1")
        await command(redis, "CONFIG SET", "port", port)
        await redis.aclose()
        yield f"redis://127.0.0.1:{port}/0", folder


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
