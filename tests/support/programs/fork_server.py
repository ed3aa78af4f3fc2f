"""A Python that has imported what programs need, and forks for each program that a test starts.

Rule: the fork is a process like any other, from `python -m NAME` or `python -c CODE` to its end;
only importing is spared, and taking apart at the end what was imported. The tests' side is
forked.py. A request is a JSON line with three descriptors: standard output, standard error, and
where to write the process id and the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
from types import ModuleType
from typing import NoReturn

import msgspec
from msgspec import Struct

from everfold import commands

REQUEST_BYTES = 1 << 20
NUMBER_BYTES = 4

IMPORTED_BEFORE = (
    *("aiohttp.web", "cyclopts", "httpcore", "httpx", "PIL.Image"),
    *("redis.asyncio", "rich.live", "rich.table"),
    *("anyio._backends._asyncio", "websockets.asyncio.client"),
    *("everfold.client", "everfold.commands.app", "everfold.projector.projector"),
    *("everfold.runner.comfyui", "everfold.runner.runner", "everfold.simulator.simulator"),
    *("everfold.sinks.sql", "everfold.web.serving.gateway_server"),
)
"""None of them starts a thread or reads the environment; no program's own `__main__`."""


def import_before() -> None:
    """Import what most programs need, and all commands."""
    for name in IMPORTED_BEFORE:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(found.name)


class Request(Struct, frozen=True):
    arguments: list[str]
    """As Python gets them: -m NAME or -c CODE, and the program's own."""
    environ: dict[str, str]
    folder: str


def number(value: int) -> bytes:
    return value.to_bytes(NUMBER_BYTES, "big", signed=True)


class Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._woken, self._wake = os.pipe()
        self._statuses: dict[int, int] = {}
        """Process id -> where its exit code is awaited."""

    def serve(self) -> Request:
        """Fork for each request. Returns in the fork; ends with the process that asks."""
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            readable, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in readable:
                os.read(self._woken, 512)
                self._report_ends()
            if self._control.fileno() in readable:
                request, descriptors = self._received()
                output, errors, status = descriptors
                if not (pid := os.fork()):
                    self._let_go(output, errors, status)
                    return request
                self._statuses[pid] = status
                os.write(status, number(pid))
                os.close(output)
                os.close(errors)

    def _received(self) -> tuple[Request, list[int]]:
        text, descriptors, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, 3)
        if not text:
            self._end()
        while not text.endswith(b"\n"):
            text += self._control.recv(REQUEST_BYTES)
        return msgspec.json.decode(text, type=Request), descriptors

    def _report_ends(self) -> None:
        while self._statuses:
            pid, how = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            status = self._statuses.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
                os.write(status, number(os.waitstatus_to_exitcode(how)))
            os.close(status)

    def _let_go(self, output: int, errors: int, status: int) -> None:
        """In the fork: keep nothing of the server, and take the program's output."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        theirs = (output, errors, status, *self._statuses.values())
        for descriptor in (self._woken, self._wake, *theirs):
            os.close(descriptor)
        self._control.close()

    def _end(self) -> None:
        for pid in self._statuses:
            os.kill(pid, signal.SIGKILL)
        sys.exit(0)


def run(request: Request) -> None:
    """Be the program, in a process that has just been forked."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environ)
    try:
        _run(request)
    except SystemExit as end:
        _exit(end.code)
    _exit(0)


def _run(request: Request) -> None:
    how, what, *arguments = request.arguments
    sys.path[0] = request.folder if how == "-m" else ""
    sys.argv = [what if how == "-m" else "-c", *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(module))


def _exit(code: str | int | None) -> NoReturn:
    """End as Python does, but leave to the kernel what was imported: to take that apart object by
    object would take several times as long as most programs."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter itself calls
    atexit._run_exitfuncs()
    gc.collect()  # what was forgotten says so
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        sys.exit(code)  # the interpreter has its own way to tell of these
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    import_before()
    gc.collect()
    gc.freeze()  # what was imported stays shared
    run(Server(socket.socket(fileno=int(sys.argv[1]))).serve())
