"""Real processes to measure: a simulator, a projector, and runners with default settings."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from msgspec import Struct


class Process(Struct, eq=False):
    """A child process and the first line that it printed."""

    name: str
    child: subprocess.Popen[str]
    first_line: str

    def send(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def finish(self) -> str:
        """End its input, and return what it prints then."""
        told, _ = self.child.communicate()
        return told.strip()

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


class BenchProcesses:
    """Starts processes and ends them all, whatever happens."""

    def __init__(self, folder: Path, redis_url: str, namespace: str) -> None:
        self.folder, self.redis_url, self.namespace = folder, redis_url, namespace
        self.queues: Sequence[str] = ("default",)
        """Those of runners that are started from now on."""
        self._errors: IO[str] = (folder / "errors.log").open("w")
        self._all: list[Process] = []
        self._count = 0

    def simulator(self, *more: str) -> str:
        """Start a simulator, with more of its options, and return its URL."""
        return self.start_simulator(*more).first_line.split()[-1]

    def start_simulator(self, *more: str) -> Process:
        """Start a simulator; the first line ends with its URL."""
        output = str(self.folder / "output")
        arguments = ["-m", "everfold.simulator", "--port", "0", "--output", output, "--quiet"]
        return self._start("simulator", [*arguments, *more])

    def runner(self, *backends: str) -> Process:
        self._count += 1
        name = f"bench-{self._count}"
        arguments = [
            "-m",
            "benchmarks.runners.runner_program",
            self.redis_url,
            self.namespace,
            name,
            ",".join(self.queues),
        ]
        return self._start(name, [*arguments, *backends])

    def everfold_runner(self, *options: str) -> Process:
        """Start `everfold runner` with these options."""
        self._count += 1
        call = ["-m", "everfold", "runner", "--name", f"bench-{self._count}", *options]
        return self._start("runner", call, self._environ)

    @property
    def _environ(self) -> dict[str, str]:
        namespace = {"EVERFOLD_NAMESPACE": self.namespace, "EVERFOLD_CONFIG": os.devnull}
        return {"REDIS_URL": self.redis_url, **namespace}

    def projector(self) -> Process:
        return self._start("projector", ["-m", "everfold", "projector"], self._environ)

    def gateway(self) -> Process:
        """Start `everfold serve` on a free port; the first line ends with its address."""
        return self._start("gateway", ["-m", "everfold", "serve", "--port", "0"], self._environ)

    def gateway_jobs(self, count: int) -> Process:
        """Start what stands for a runner and takes up to `count` jobs of each partition."""
        words = [self.redis_url, self.namespace, str(count)]
        return self._start("jobs", ["-m", "benchmarks.serving.gateway_jobs", *words])

    def console_load(self) -> Process:
        """Start what appends events until its input ends, and prints then how many a second."""
        words = [self.redis_url, self.namespace]
        return self._start("load", ["-m", "benchmarks.serving.console_load", *words])

    def bare_stream(self) -> Process:
        """Start what a gateway is measured beside; the first line is its address."""
        return self._start("bare stream", ["-m", "benchmarks.serving.bare_stream"])

    def _start(
        self, name: str, arguments: list[str], environ: dict[str, str] | None = None
    ) -> Process:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        assert child.stdout is not None
        process = Process(name, child, "")
        self._all.append(process)
        process.first_line = child.stdout.readline().strip()
        if not process.first_line:
            raise RuntimeError(f"{name} did not start; see {self._errors.name}")
        return process

    def close(self) -> None:
        for process in self._all:
            if process.child.poll() is None:
                process.send(signal.SIGCONT)
                process.kill()
        self._errors.close()


@contextlib.contextmanager
def bench_processes(folder: Path, redis_url: str, namespace: str) -> Iterator[BenchProcesses]:
    made = BenchProcesses(folder, redis_url, namespace)
    try:
        yield made
    finally:
        made.close()
