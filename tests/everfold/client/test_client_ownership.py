"""A client answers in the event loop and process that opened it, and closes whatever ends it."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.projector import Projector
from everfold.projector.subscribing.catch_up import CatchUp
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.subscription import Subscription
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.errors import ClientClosed, ClientShared, EverfoldError, NeedsAsyncio
from everfold.streams.events.event import CancelRequested
from everfold.streams.leases.registry import connected
from everfold.streams.reading.reader import tail
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
CANCELS = 15
LONGEST_S = 0.1
"""The last of the cancels comes after so long; opening takes some milliseconds."""


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace) as opened:
        yield opened


async def _open(log: Log) -> None:
    await anyio.sleep_forever()


async def _tail(log: Log) -> None:
    async with tail(log) as batches:
        async for _ in batches:
            pass


async def _catch_up(log: Log) -> None:
    async with CatchUp(log) as feed:
        async for _ in feed:
            pass


async def _project(log: Log) -> None:
    await Projector(log, log.actor).run()


async def _consume(log: Log) -> None:
    @Subscription("cancelled")
    async def take(_: object) -> None: ...

    await Consumer(log, log.actor, take).run()


async def _run(log: Log) -> None:
    config = RunnerConfig(name=log.actor)
    await Runner(log, [ComfyBackend("http://127.0.0.1:9")], config).run()


async def _watch(log: Log) -> None:
    async with Everfold.connect(
        log.url.reveal(), namespace=log.keys.namespace, actor=log.actor
    ) as everfold:
        made = await everfold.submit(GRAPH)
        async for _ in everfold.watch(made.job_id):
            pass


USES = [_open, _tail, _catch_up, _project, _consume, _run, _watch]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.strip("_"))
async def test_a_cancelled_block_leaves_no_connection(
    redis_url: str, namespace: str, everfold: Everfold, use: Callable[[Log], Awaitable[None]]
) -> None:
    gc.collect()
    gc.disable()  # it would close what was left open, and so hide it
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", ResourceWarning)
            for number in range(CANCELS):
                with anyio.move_on_after(LONGEST_S * number / CANCELS):
                    actor = f"cancelled-{number}"
                    async with Log.open(redis_url, namespace=namespace, actor=actor) as log:
                        await use(log)

            async def left() -> bool:
                return any("cancelled" in name for name in await connected(everfold.log))

            async def none_is_left() -> bool:
                return not await left()

            await eventually(none_is_left)
            gc.collect()
        assert [str(one.message) for one in found if one.category is ResourceWarning] == []
    finally:
        gc.enable()


async def test_a_backend_that_a_cancelled_runner_had_is_closed(
    redis_url: str, namespace: str
) -> None:
    backend = ComfyBackend("http://127.0.0.1:9")
    async with Log.open(redis_url, namespace=namespace, actor="r1") as log:
        with anyio.move_on_after(0.3):
            await Runner(log, [backend], RunnerConfig(name="r1")).run()
    assert backend.http._client.is_closed


async def _in_another_loop(call: Callable[[], Awaitable[object]]) -> list[BaseException]:
    """Await the call in a thread with an event loop of its own; return what it raised."""
    raised: list[BaseException] = []

    async def awaited() -> None:
        await call()

    def run() -> None:
        try:
            asyncio.run(awaited())
        except BaseException as error:  # whatever it is, the test shows it
            raised.append(error)

    thread = threading.Thread(target=run, name="second", daemon=True)
    thread.start()
    await eventually(lambda: not thread.is_alive())
    return raised


async def test_a_client_says_at_once_that_another_event_loop_uses_it(everfold: Everfold) -> None:
    made = await everfold.submit(GRAPH)
    log, job_id = everfold.log, made.job_id

    async def watch() -> None:
        async for _ in everfold.watch(job_id):
            pass

    async def follow() -> None:
        async with everfold.follow() as batches:
            await anext(batches)

    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "submit": lambda: everfold.submit(GRAPH),
        "get": lambda: everfold.get(job_id),
        "list": lambda: everfold.list(),
        "cancel": lambda: everfold.cancel(job_id),
        "append": lambda: log.append(job_id, CancelRequested(), epoch=0),
        "wait": lambda: everfold.wait(job_id),
        "watch": watch,
        "follow": follow,
    }
    for name, call in calls.items():
        (error,) = await _in_another_loop(call)
        assert isinstance(error, ClientShared), (name, error)
        assert "thread 'second'" in str(error)
        assert "open a client of its own" in str(error)
    assert (await everfold.get(job_id)).status == "queued", "it still works where it was opened"


async def test_a_client_says_at_once_that_a_fork_uses_it(everfold: Everfold) -> None:
    made = await everfold.submit(GRAPH)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        child = os.fork()
    if child == 0:
        try:
            asyncio.run(everfold.get(made.job_id))
            answer = "nothing was raised"
        except BaseException as error:  # a child must never go on as a second pytest
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    answer = (await anyio.to_thread.run_sync(os.read, reading, 4096)).decode()
    os.close(reading)
    await anyio.to_thread.run_sync(os.waitpid, child, 0)
    assert answer.startswith("ClientShared: "), answer
    assert f"process {os.getpid()}" in answer
    assert (await everfold.get(made.job_id)).status == "queued"


def test_a_client_says_that_it_needs_asyncio(redis_url: str) -> None:
    """Under trio no asyncio event loop runs; nor does it here."""
    for opening in (Everfold.connect(redis_url), Log.open(redis_url)):
        with pytest.raises(NeedsAsyncio, match="asyncio only"):
            opening.__aenter__().send(None)
    assert issubclass(NeedsAsyncio, EverfoldError)


async def test_whoever_waits_when_the_client_closes_is_told_at_once(
    redis_url: str, namespace: str
) -> None:
    calls = list[asyncio.Task[object]]()

    async def watch(everfold: Everfold, job_id: str) -> None:
        async for _ in everfold.watch(job_id):
            pass

    for turns in (*range(1, 40, 3), 200):
        async with Everfold.connect(redis_url, namespace=namespace) as everfold:
            job_id = (await everfold.submit(GRAPH, validate=False)).job_id
            calls += [
                asyncio.create_task(everfold.wait(job_id)),
                asyncio.create_task(watch(everfold, job_id)),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns == 200:
                await eventually(lambda: _is_watched(everfold))
        with anyio.fail_after(5):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {ClientClosed}


async def _is_watched(everfold: Everfold) -> bool:
    return everfold._watcher._is_following and bool(everfold._watcher._watched)
