"""A runner as a real process, with short leases, that can end itself at a stated point.

python -m tests.support.programs.runner_program '{"redis": ..., "namespace": ..., "name": ...}'
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.abc
import msgspec
from msgspec import Struct

from everfold.assets.thumbnails import Thumbnails
from everfold.erasing.seal_cipher import environment_cipher
from everfold.runner.backend import (
    Attempt,
    BackendTraits,
    Ended,
    InputBytes,
    InputFile,
    OutputAnswer,
    OutputFile,
    PlaceOutcome,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.execution.attempt_start import AttemptStart
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder


class Leases(Struct, frozen=True, kw_only=True):
    """By default short ones, since tests wait for their end."""

    ttl_s: float = 2.0
    renew_every_s: float = 0.4
    margin_s: float = 0.4
    suspect_after_s: float = 0.6


class RunnerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    redis: str
    namespace: str
    name: str
    backends: tuple[str, ...]
    queues: tuple[str, ...] = ("default",)
    slots: int = 2
    leases: Leases = Leases()
    drain_s: float = 1.0
    silent_after_s: float = 15.0
    truth_every_s: float = 0.5
    stuck_after_s: float = 60.0
    refused_for_s: float = 300.0
    stall_s: float = 0.0
    """On SIGUSR1: how long one C call holds the interpreter lock."""
    forks: bool = False
    """A forked child outlives it, with all its descriptors, for 15 s."""
    at: str = ""
    """The point at which the process sends `signal` to itself: in_upload (half of a file is sent),
    after_upload (its server has it), before_post (the intent is
    recorded), after_post (the answer is not recorded), before_stop and after_stop (around the call
    that stops an attempt), before_end (the end was seen and not recorded), before_file and
    after_file (around the reading of an output file)."""
    host: str = ""
    """The name of the machine that this runner takes itself to be on; its own when empty."""
    addresses: dict[str, str] = {}
    """URL of a backend -> where it is found on that machine."""
    titles: dict[str, str] = {}
    """URL of a backend -> what people call it."""
    has_identity: bool = True
    """Whether its servers can keep an identity."""
    assets: str = ""
    """Folder of the asset store; without one, jobs that send files are left to others."""
    thumbnails: bool = False
    """Whether stored pictures get small ones."""
    broken: bool = False
    """The runner has a bug: each start of an attempt raises what nobody expects."""
    raises: bool = False
    """The backend's adapter has a bug: some of its calls raise what nobody expects."""
    signal: str = "SIGKILL"
    collect_within_s: float = 300.0


class DyingBackend(ComfyBackend):
    """Sends this process a signal at the stated point, once."""

    def __init__(self, url: str, options: RunnerOptions) -> None:
        super().__init__(options.addresses.get(url, url))
        self._url = url if url in options.addresses else super().name
        self._has_identity = options.has_identity
        self._at, self._signal = options.at, signal.Signals[options.signal]
        self._raises = options.raises

    @property
    def name(self) -> str:
        return self._url

    async def server(self) -> str | Unreachable:
        return await super().server() if self._has_identity else ""

    async def boot(self) -> str | Unreachable:
        if self._raises:
            raise ZeroDivisionError("a bug")
        return await super().boot()

    async def cancel(self, attempt: Attempt) -> None:
        self._signal_at("before_stop")
        await super().cancel(attempt)
        self._signal_at("after_stop")

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        outcome = await super().place_input(file, partial(self._dying, file, content))
        self._signal_at("after_upload")
        return outcome

    @asynccontextmanager
    async def _dying(
        self, file: InputFile, content: InputBytes
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async def halves(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            sent = 0
            async for chunk in chunks:
                half = max(0, min(len(chunk), file.size_bytes // 2 - sent))
                yield chunk[:half]
                sent += len(chunk)
                if half < len(chunk):
                    self._signal_at("in_upload")
                    yield chunk[half:]

        async with content() as chunks:
            yield halves(chunks)

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        self._signal_at("before_post")
        outcome = await super().submit(attempt, workflow, may_send)
        self._signal_at("after_post")
        return outcome

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        if self._raises:
            raise ZeroDivisionError("a bug")
        truth = await super().truth(prompt_id, boot, server)
        if isinstance(truth, Ended):
            self._signal_at("before_end")
        return truth

    @asynccontextmanager
    async def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AsyncIterator[OutputAnswer]:
        self._signal_at("before_file")
        async with super().open_output(file, boot, server) as answer:
            yield answer
        self._signal_at("after_file")

    def _signal_at(self, point: str) -> None:
        if point == self._at:
            self._at = ""
            print(f"reached {point}", flush=True)
            os.kill(os.getpid(), self._signal)


async def _raise(*_: object) -> bool:
    raise ZeroDivisionError("a bug")


async def main(options: RunnerOptions) -> None:
    if options.broken:
        AttemptStart.run = _raise  # type: ignore[method-assign, assignment]
    if options.host:
        socket.gethostname = lambda: options.host
    config = RunnerConfig(
        name=options.name,
        queues=options.queues,
        slots=options.slots,
        lease_ttl_s=options.leases.ttl_s,
        renew_every_s=options.leases.renew_every_s,
        lease_margin_s=options.leases.margin_s,
        suspect_after_s=options.leases.suspect_after_s,
        sweep_every_s=0.2,
        submit_grace_s=1.0,
        truth_every_s=options.truth_every_s,
        drain_s=options.drain_s,
        silent_after_s=options.silent_after_s,
        stuck_after_s=options.stuck_after_s,
        refused_for_s=options.refused_for_s,
        collect_within_s=options.collect_within_s,
    )
    async with Log.open(
        options.redis,
        namespace=options.namespace,
        actor=options.name,
        cipher=environment_cipher(),
    ) as log:
        runner = Runner(
            log,
            [DyingBackend(url, options) for url in options.backends],
            config,
            AssetStore(log, BlobFolder(options.assets)) if options.assets else None,
            make_backend=lambda url: DyingBackend(url, options),
            traits={url: BackendTraits(title=title) for url, title in options.titles.items()},
            thumbnail=Thumbnails().make if options.thumbnails else None,
        )
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await runner.run(task_status=task_status)
                tasks.cancel_scope.cancel()

            tasks.start_soon(_obey_signals, runner, options.stall_s)
            await tasks.start(run)
            if options.forks and os.fork() == 0:
                _outlive()
            print("ready", flush=True)


def _outlive() -> None:
    time.sleep(15)
    os._exit(0)


async def _obey_signals(runner: Runner, stall_s: float) -> None:
    """Drain on SIGTERM. On SIGUSR1 hold the interpreter lock, as a big division does."""
    sleep = ctypes.PyDLL(None).usleep
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
        async for number in signals:
            if number == signal.SIGTERM:
                runner.drain()
                print("draining", flush=True)
                break
            sleep(int(stall_s * 1_000_000))
            print("stalled", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    anyio.run(main, msgspec.json.decode(sys.argv[1], type=RunnerOptions))
