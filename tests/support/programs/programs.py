"""Python programs as real processes of a test: their lines, real signals, and a sure end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.programs.forked import Forked, ForkServer
from tests.support.wait import eventually

ROOT = Path(__file__).parents[3]
END_S = 30.0


class Program:
    """A running program. What it prints is read all the time, so that it never blocks on it."""

    def __init__(self, arguments: Sequence[str], running: subprocess.Popen[str] | Forked) -> None:
        self.arguments = arguments
        self.lines = list[str]()
        """Standard output so far, without line ends."""
        self.error_lines = list[str]()
        """Standard error so far."""
        self._running = running
        self._readers = [
            _reading(self._running.stdout, self.lines),
            _reading(self._running.stderr, self.error_lines),
        ]

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._running.poll()

    async def line(self, containing: str = "", *, after: int = 0, within_s: float = 30.0) -> str:
        """Wait for the first line that contains the text, not looking at the first `after` lines.

        AssertionError with all it printed when it ends, or the time does, before such a line.
        """

        def found() -> list[str] | None:
            ended = self.exit_code is not None and not any(r.is_alive() for r in self._readers)
            match = [line for line in self.lines[after:] if containing in line]
            if not match and ended:
                raise AssertionError(f"no line with {containing!r}: {self}")
            return match

        try:
            return (await eventually(found, within_s))[0]  # type: ignore[index]  # None is not true
        except AssertionError:
            raise AssertionError(f"no line with {containing!r} in {within_s} s: {self}") from None

    async def end(self, within_s: float = END_S) -> int:
        """Wait until it ends by itself and return its exit code; its lines are complete then."""
        await eventually(lambda: self.exit_code is not None, within_s)
        self._join()
        assert self.exit_code is not None
        return self.exit_code

    def send(self, number: signal.Signals) -> None:
        """Send a signal; SIGSTOP and SIGCONT too."""
        self._running.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it and wait for its end."""
        self._running.kill()
        self._running.wait(END_S)

    def close(self) -> None:
        """End it for good and let go of its pipes."""
        self.kill()
        self._join()

    def __str__(self) -> str:
        """Tell what it was, how it ended and what it printed last, for a failed assertion."""
        command = " ".join(self.arguments)
        printed = "\n".join([*self.lines[-40:], "-- standard error:", *self.error_lines[-40:]])
        return f"{command} (exit code {self.exit_code})\n{printed}"

    def _join(self) -> None:
        # A grandchild may keep the pipes open: its lines are not waited for.
        for reader in self._readers:
            reader.join(1.0)


def _reading(pipe: IO[str] | None, lines: list[str]) -> threading.Thread:
    def read() -> None:
        assert pipe is not None
        with pipe:
            lines.extend(line.rstrip("\n") for line in pipe)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@contextmanager
def programs(
    python: Path | str = sys.executable,
    folder: Path = ROOT,
    environ: Mapping[str, str] = os.environ,
    fork_server: ForkServer | None = None,
) -> Iterator[StartProgram]:
    """Give a function that starts programs, all of which are ended when the context is.

    With a fork server, those that it can start are forked from it instead of started anew.
    """
    base = environ
    started = list[Program]()

    def start(*arguments: str, environ: Mapping[str, str] | None = None) -> Program:
        whole = {**base, "PYTHONUNBUFFERED": "1", **(environ or {})}
        if fork_server is not None and arguments[0] in ("-m", "-c"):
            running: subprocess.Popen[str] | Forked = fork_server.start(arguments, whole, folder)
        else:
            running = _started_anew([str(python), *arguments], whole, folder)
        program = Program(arguments, running)
        started.append(program)
        return program

    try:
        yield start
    finally:
        for program in started:
            program.close()


def _started_anew(
    arguments: Sequence[str], environ: Mapping[str, str], folder: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


StartProgram = Callable[..., Program]
"""start("-m", "everfold", "up", environ={...}) -> Program; by default this Python, in the root."""
