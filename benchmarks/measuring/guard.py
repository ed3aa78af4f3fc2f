"""Ends all processes of a run once its main process is gone, however that ended.

Rule: a server outlives whoever started it on purpose, so a killed run would leave it behind. What a
run starts inherits a mark in its environment, or works in the run's folder; a process beside looks
whether the main one lives, and kills all of that when it does not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL

MARK = "EVERFOLD_BENCHMARK_RUN"
LOOK_EVERY_S = 0.2
SWEEPS = 3
"""How often is looked for processes: one may have started another meanwhile."""


@contextmanager
def guarded() -> Iterator[None]:
    """Have all processes that are started inside killed once this one has ended.

    A SIGTERM ends the block as a Ctrl-C does. The run's folder, with all that is stored, goes too.
    """
    unmarked = dict(os.environ)
    folder = tempfile.mkdtemp(prefix=f"everfold-run-{os.getpid()}-")
    os.chmod(folder, 0o711)  # a server of another user, as PostgreSQL's, has its own folder in it
    call, nowhere = (
        [sys.executable, "-m", "benchmarks.measuring.guard", str(os.getpid()), folder],
        DEVNULL,
    )
    subprocess.Popen(
        call, env=unmarked, start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere
    )
    os.environ |= {MARK: folder, "TMPDIR": folder}
    tempfile.tempdir = None  # asked for anew
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    yield


def of_run(folder: str) -> list[int]:
    """Return the processes of the run with this folder, or with one that begins so."""
    mark, found = f"{MARK}={folder}".encode(), list[int]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # A server overwrites its environment with its title.
            works_there = str((process / "cwd").readlink()).startswith(folder)
            words = (process / "environ").read_bytes().split(b"\0")
            if works_there or any(word.startswith(mark) for word in words):
                found.append(int(process.name))
    return found


def watch(main: int, folder: str) -> None:
    """Wait for the end of the main process, then kill all that the run has started."""
    while os.getppid() == main:
        time.sleep(LOOK_EVERY_S)
    for _ in range(SWEEPS):
        for process in of_run(folder):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
