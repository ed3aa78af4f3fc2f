"""The processes of the demo: two simulators, a projector, two runners; all ended at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from everfold.streams.closing import in_thread
from everfold.streams.errors import Unavailable

START_WITHIN_S = 20.0
END_WITHIN_S = 5.0


def assets_of(folder: Path) -> Path:
    """Return where the demo stores files."""
    return folder / "assets"


class DemoProcess:
    """An `everfold` command as a child process."""

    def __init__(self, role: str, child: subprocess.Popen[str], first_line: str) -> None:
        self.role, self.child, self.first_line = role, child, first_line

    def kill(self) -> None:
        """SIGKILL: what a crash, an out-of-memory kill or a power cut looks like."""
        self.child.kill()


class DemoProcesses:
    def __init__(
        self, redis_url: str, namespace: str, folder: Path, settings: Mapping[str, str]
    ) -> None:
        self._environ = {
            **os.environ,
            "REDIS_URL": redis_url,
            "EVERFOLD_NAMESPACE": namespace,
            "EVERFOLD_CONFIG": os.devnull,
            "EVERFOLD_ASSETS": str(assets_of(folder)),
            "PYTHONUNBUFFERED": "1",
            "EVERFOLD_LOG": "ERROR",
            **settings,
        }
        self._folder = folder
        self._all: list[DemoProcess] = []

    async def start(self, role: str, *arguments: str) -> DemoProcess:
        """Start `everfold <arguments>` and wait for its first line. Raises Unavailable."""
        child = self._spawn(role, arguments)
        process = DemoProcess(role, child, "")
        self._all.append(process)
        assert child.stdout is not None
        with anyio.move_on_after(START_WITHIN_S):
            process.first_line = (
                await run_sync(child.stdout.readline, abandon_on_cancel=True)
            ).strip()
        if not process.first_line:
            raise Unavailable(f"the {role} did not start; see {self._errors_of(role)}")
        return process

    def _spawn(self, role: str, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        with self._errors_of(role).open("w") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "everfold", *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is for the demo alone; it ends its children itself.
                start_new_session=True,
            )

    def _errors_of(self, role: str) -> Path:
        return self._folder / f"{role.replace(' ', '-')}.log"

    def end(self) -> None:
        for process in self._all:
            process.child.terminate()
        for process in self._all:
            try:
                process.child.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.child.kill()
                process.child.wait()
            if process.child.stdout is not None:
                process.child.stdout.close()


@contextlib.asynccontextmanager
async def demo_processes(
    redis_url: str, namespace: str, folder: Path, **settings: str
) -> AsyncIterator[DemoProcesses]:
    """Give an object that starts the demo's processes, all of which end with the context.

    `settings` are more variables of their environment.
    """
    made = DemoProcesses(redis_url, namespace, folder, settings)
    try:
        yield made
    finally:
        await in_thread(made.end)
