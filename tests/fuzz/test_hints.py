# Whatever bytes come over the wake channel, a runner lives and hears the hint after them.

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.fuzz.cases import fuzz
from tests.support import servers
from tests.support.wait import eventually

WORDS = st.sampled_from((b"dispatch", b"release", b"cancel", b"heard", b"", b"\xff"))
RESTS = st.binary(max_size=30) | st.sampled_from(
    (b"0", b"-1", b"9" * 400, "²".encode(), b"1.0", b" ", b"\n", b"x" * 100_000, b"\xff", b"None")
)
HINTS = st.binary(max_size=40) | st.builds(lambda word, rest: word + b" " + rest, WORDS, RESTS)


class Listening:
    """A runner without backends, which notes what it is asked to cancel."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.canceled = list[str]()
        self.runner = Runner(log, [], RunnerConfig(name="r"))
        wake, on = self.runner._hints._on["cancel"], self.runner._hints._on

        def note(job_id: str) -> None:
            wake(job_id)
            self.canceled.append(job_id)

        on["cancel"] = note


@asynccontextmanager
async def listening(url: str, namespace: str) -> AsyncIterator[Listening]:
    async with Log.open(url, namespace=namespace, partitions=2, actor="r") as log:
        yield Listening(log)


@pytest.fixture(scope="module")
def runner(portal: BlockingPortal, redis_server: str) -> Iterator[tuple[Listening, Future[None]]]:
    namespace = f"fuzz-{uuid4().hex[:12]}"
    with portal.wrap_async_context_manager(listening(redis_server, namespace)) as made:
        running, _ = portal.start_task(made.runner.run)
        portal.call(heard, made)
        yield made, running
        running.cancel()
    servers.delete_namespace(redis_server, namespace)


async def heard(made: Listening) -> None:
    """Hint until the runner hears it: what is sent before it has subscribed is lost."""
    name = uuid4().hex

    async def is_heard() -> bool:
        await command(made.log.redis, "PUBLISH", made.log.keys.wake(), f"cancel {name}")
        await anyio.sleep(0.001)
        return name in made.canceled

    await eventually(is_heard)


@fuzz(hints=st.lists(HINTS, min_size=1, max_size=5))
def test_no_hint_ends_a_runner_or_makes_it_deaf(
    portal: BlockingPortal, runner: tuple[Listening, Future[None]], hints: list[bytes]
) -> None:
    made, running = runner
    portal.call(hear, made, hints)
    assert not running.done()


async def hear(made: Listening, hints: list[bytes]) -> None:
    key, name = made.log.keys.wake(), uuid4().hex
    made.canceled.clear()
    for hint in (*hints, f"cancel {name}".encode()):
        assert await command(made.log.redis, "PUBLISH", key, hint) == 1, "it listens no more"
    await eventually(lambda: is_last(made, name))


async def is_last(made: Listening, name: str) -> bool:
    await anyio.sleep(0.001)
    return made.canceled[-1:] == [name]
