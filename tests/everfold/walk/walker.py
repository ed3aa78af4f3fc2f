"""Runs command lines of `everfold`, each in a fork of one Python that has loaded all commands.

Rule: one JSON line in, as the argument; one JSON line out for each command line that has ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from everfold import __main__ as program
from everfold.commands.app import app
from everfold.commands.config.settings import all_settings

Stream = Literal["closed", "full", "unread"]
"""Closed before the start; /dev/full; a pipe whose reader has gone."""

STREAMS = ("stdin", "stdout", "stderr")
AT_ONCE = 4
GRACE_S = 8.0
"""From SIGTERM to SIGKILL."""

LOOK_EVERY_S = 0.05


class Call(Struct, frozen=True):
    """One command line, with the variables that only it has."""

    arguments: list[str]
    environ: dict[str, str] = {}
    in_terminal: bool = False
    """Whether its standard output is a terminal, which understands nothing but line ends."""
    streams: Mapping[str, Stream] = {}
    """What is odd about stdin, stdout or stderr."""
    without: Collection[str] = ()
    """Variables that are not set."""
    folder_is_gone: bool = False
    """Whether its current folder has been removed."""
    file_limit_bytes: int | None = None
    """How large a file may grow, as on a disk that is full."""
    signal_at_start: int = 0
    """What it gets in its first moment."""
    signal_after_s: float = 0.001
    label: str = ""
    """What the caller knows it by."""


class Walk(Struct, frozen=True):
    calls: list[Call]
    folder: str
    environ: dict[str, str] = {}
    limit_s: float = 2.0
    """A command that runs for longer is told to end."""
    sees_processes: bool = False
    """Whether it is noted what a command starts, which takes as long as many commands."""


class Shown(Struct, frozen=True):
    """What one command line has shown to others."""

    arguments: list[str]
    code: int
    """Negative for a signal that ended it."""
    out: bytes
    err: bytes
    processes: list[str]
    """The command lines of the processes that it started."""
    label: str = ""


class Process(NamedTuple):
    parent: int
    command_line: str
    environ: str


class Running:
    """A fork that runs one command line."""

    def __init__(self, walk: Walk, call: Call, number: int) -> None:
        self._call, self._mark = call, f"WALK={os.getpid()}-{number}"
        self._paths = [Path(walk.folder).parent / f"{number}.{name}" for name in ("out", "err")]
        self._processes = set[str]()
        self._terminate_at = time.monotonic() + walk.limit_s
        self._kill_at = self._terminate_at + GRACE_S
        self._terminal, theirs = os.openpty() if call.in_terminal else (-1, -1)
        self._pid = os.fork()
        if not self._pid:
            _become(walk, call, self._mark, self._paths, theirs)
        if call.in_terminal:
            os.close(theirs)
            os.set_blocking(self._terminal, False)
        self._drawn = b""

    def ended(self, processes: Sequence[Process]) -> Shown | None:
        """Look at it and at all processes; return what it showed when it is over."""
        ours = (one for one in processes if self._pid == one.parent or self._mark in one.environ)
        self._processes.update(one.command_line for one in ours)
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        self._read_terminal()
        if pid:
            with contextlib.suppress(ProcessLookupError):  # what it left behind
                os.killpg(self._pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(status)
            out, err = (path.read_bytes() for path in self._paths)
            if self._call.in_terminal:
                os.close(self._terminal)
                out = self._drawn.replace(b"\r\n", b"\n")
            started = sorted(self._processes)
            return Shown(self._call.arguments, code, out, err, started, self._call.label)
        if time.monotonic() > self._kill_at:
            os.killpg(self._pid, signal.SIGKILL)
        elif time.monotonic() > self._terminate_at:
            self._terminate_at = self._kill_at
            os.kill(self._pid, signal.SIGTERM)
        return None

    def _read_terminal(self) -> None:
        with contextlib.suppress(OSError):  # nothing to read, or nobody writes to it any more
            while self._call.in_terminal and (part := os.read(self._terminal, 65_536)):
                self._drawn += part


def processes_beside(known: Collection[str]) -> Iterator[Process]:
    """Yield the processes that are new, as everybody may see them (where there is a /proc)."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and name not in known:
            folder = Path("/proc", name)
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = (folder / "stat").read_text().rpartition(") ")[2].split()[1]
                line = (folder / "cmdline").read_text().replace("\0", " ")
                yield Process(int(parent), line, (folder / "environ").read_text())


def _become(walk: Walk, call: Call, mark: str, paths: list[Path], terminal: int) -> None:
    """Run the command as `python -m everfold` does. Does not return."""
    code = 1
    try:
        os.setsid()
        for number, path in enumerate(paths, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if call.in_terminal:
            os.dup2(terminal, 1)
            os.environ["TERM"] = "dumb"
        _go_to(walk.folder, is_gone=call.folder_is_gone)
        # What it starts has the mark from the beginning, unless it is given no environment.
        name, _, value = mark.partition("=")
        os.environ.update({**walk.environ, **_decoded(call.environ), name: value})
        for name in call.without:
            os.environ.pop(name, None)
        sys.argv[1:] = map(_as_typed, call.arguments)
        if call.file_limit_bytes is not None:
            os.dup2(terminal, 2)
            limits = (call.file_limit_bytes, call.file_limit_bytes)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        for name, stream in call.streams.items():
            _make_odd(name, stream)
        if call.signal_at_start:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), call.signal_at_start))
            signal.setitimer(signal.ITIMER_REAL, call.signal_after_s)
        program.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        sys.stderr.write(end.code if isinstance(end.code, str) else "")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _go_to(folder: str, *, is_gone: bool) -> None:
    if is_gone:
        folder = tempfile.mkdtemp()
    os.chdir(folder)
    if is_gone:
        os.rmdir(folder)


def _make_odd(name: str, stream: Stream) -> None:
    """Change one standard stream, as it is when a program starts."""
    number = STREAMS.index(name)
    if stream == "closed":
        os.close(number)
        setattr(sys, name, None)
    elif stream == "full":
        os.dup2(os.open("/dev/full", os.O_RDWR), number)
    else:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, number)


def _as_typed(text: str) -> str:
    """Return an argument in which `{ff}` stands for a byte that is no text."""
    return text.replace("{ff}", os.fsdecode(b"\xff"))


def _decoded(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: _as_typed(value) for name, value in environ.items()}


def main(walk: Walk) -> None:
    list(all_settings(app))  # loads every command
    gc.freeze()
    waiting, running = list(enumerate(walk.calls)), list[Running]()
    known = {*os.listdir("/proc")}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, call = waiting.pop(0)
            running.append(Running(walk, call, number))
        processes = list(processes_beside(known)) if walk.sees_processes else []
        for one in list(running):
            if shown := one.ended(processes):
                running.remove(one)
                sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
                sys.stdout.flush()
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Walk))
