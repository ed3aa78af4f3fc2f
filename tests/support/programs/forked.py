"""Processes of fork_server.py, with the part of subprocess.Popen's interface that tests use."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from tests.support.programs.fork_server import NUMBER_BYTES, Request


class ForkServer:
    """Starts itself with the first program."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> Forked:
        """Start `python *arguments`, which begin with -m or -c."""
        output, output_end = os.pipe()
        errors, errors_end = os.pipe()
        status, status_end = os.pipe()
        ends = [output_end, errors_end, status_end]
        request = Request(list(arguments), dict(environ), str(folder))
        line = msgspec.json.encode(request) + b"\n"
        control = self._connected()
        sent = socket.send_fds(control, [line], ends)
        control.sendall(line[sent:])
        for end in ends:
            os.close(end)
        return Forked(os.fdopen(output), os.fdopen(errors), status)

    def _connected(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._server = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tests.support.programs.fork_server",
                        str(theirs.fileno()),
                    ],
                    cwd=Path(__file__).parents[3],
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        return self._control

    def close(self) -> None:
        """End it, and with it every process that it has forked."""
        if self._control is not None and self._server is not None:
            self._control.close()
            self._server.wait()
            self._control = self._server = None


class Forked:
    """A process of the fork server."""

    def __init__(self, stdout: IO[str], stderr: IO[str], status: int) -> None:
        self.stdout, self.stderr = stdout, stderr
        self._status = status
        self._code: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Wait for its end; subprocess.TimeoutExpired when that takes longer."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, within_s: float) -> int | None:
        if self._code is None and select.select([self._status], [], [], within_s)[0]:
            self._code = self._number()
            os.close(self._status)
        return self._code

    def _number(self) -> int:
        told = os.read(self._status, NUMBER_BYTES)
        assert told, "the fork server has ended"
        return int.from_bytes(told, "big", signed=True)
