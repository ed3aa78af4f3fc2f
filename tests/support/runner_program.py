"""A runner as a real process, with short leases, that can end itself at a stated point.

python -m tests.support.runner_program '{"redis": ..., "namespace": ..., "name": ...}'
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable

import anyio
import msgspec
from msgspec import Struct

from everfold.runner.backend import Attempt, Ended, SubmitOutcome, Truth, Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log


class Orders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    redis: str
    namespace: str
    name: str
    backends: tuple[str, ...]
    queues: tuple[str, ...] = ("default",)
    slots: int = 2
    lease_ttl_s: float = 2.0
    renew_every_s: float = 0.4
    suspect_after_s: float = 0.6
    drain_s: float = 1.0
    silent_after_s: float = 15.0
    at: str = ""
    """The point at which `signal` strikes: before_post (the intent is recorded), after_post (its
    answer is not), before_stop and after_stop (around telling the backend to stop an attempt),
    before_end (the end was seen and not told)."""
    broken: bool = False
    """The backend's adapter has a bug: it raises what nobody expects."""
    signal: str = "SIGKILL"


class Doomed(ComfyBackend):
    """Sends this process a signal at the stated point, once."""

    def __init__(self, url: str, orders: Orders) -> None:
        super().__init__(url)
        self._at, self._signal = orders.at, signal.Signals[orders.signal]
        self._broken = orders.broken

    async def boot(self) -> str | Unreachable:
        if self._broken:
            raise ZeroDivisionError("a bug")
        return await super().boot()

    async def cancel(self, attempt: Attempt) -> None:
        self._strike("before_stop")
        await super().cancel(attempt)
        self._strike("after_stop")

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        self._strike("before_post")
        outcome = await super().submit(attempt, workflow, may_send)
        self._strike("after_post")
        return outcome

    async def truth(self, prompt_id: str, boot: str) -> Truth:
        truth = await super().truth(prompt_id, boot)
        if isinstance(truth, Ended):
            self._strike("before_end")
        return truth

    def _strike(self, point: str) -> None:
        if point == self._at:
            self._at = ""
            print(f"struck {point}", flush=True)
            os.kill(os.getpid(), self._signal)


async def main(orders: Orders) -> None:
    config = RunnerConfig(
        name=orders.name,
        queues=orders.queues,
        slots=orders.slots,
        lease_ttl_s=orders.lease_ttl_s,
        renew_every_s=orders.renew_every_s,
        lease_margin_s=0.4,
        suspect_after_s=orders.suspect_after_s,
        sweep_every_s=0.2,
        submit_grace_s=1.0,
        truth_every_s=0.5,
        drain_s=orders.drain_s,
        silent_after_s=orders.silent_after_s,
    )
    async with Log.open(orders.redis, namespace=orders.namespace, actor=orders.name) as log:
        runner = Runner(log, [Doomed(url, orders) for url in orders.backends], config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_drain_on_signal, runner, tasks.cancel_scope)
            await tasks.start(runner.run)
            print("ready", flush=True)


async def _drain_on_signal(runner: Runner, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            runner.drain()
            print("draining", flush=True)
            break


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    anyio.run(main, msgspec.json.decode(sys.argv[1], type=Orders))
