"""Another program damages a key of any kind, in any way: no process and no command falls over it,
the key or the job is named, and no more is hurt than the job, or the partition, of the key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.ids import new_id
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.survival.keys.damage import (
    DELETED,
    VALUES,
    another_type,
    field_damages,
    strange_records,
)
from tests.survival.keys.kinds import KINDS, NAMESPACE, PARTITION, declared, key_of
from tests.survival.keys.living import READS, Living, graph, living, look_at_all

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

TYPES = declared()
RECORDS = [name for name, kind in KINDS.items() if kind.scope == PARTITION and not kind.fields]
CHANNELS = {"wake", "wake_at"}
SINGLE = [n for n, kind in KINDS.items() if kind.scope == NAMESPACE and n not in CHANNELS]
COPIES = {"limits_at", "paused_at"}
"""Keys that are copies of others where the layout is spread: a runner writes them again."""
UNNAMED = ("zset", "set", "stream")
"""Types whose strange records do no harm, or are named by what reads them."""

_colors = count()


class Case:
    """A namespace with its processes, some of whose keys are damaged."""

    def __init__(self, stack: Stack, live: Living, start: StartProgram) -> None:
        self.log, self.live = stack.log, live
        self._stack, self._start = stack, start

    async def submit(self, partition: int, queue: str = "default", run_at_ms: int = 0) -> str:
        """Submit a job in a partition, with a graph of its own."""
        while self.log.keys.partition_of(job_id := new_id()) != partition:
            pass
        whole = graph(next(_colors))
        await self.log.submit(whole, job_id=job_id, queue=queue, run_at_ms=run_at_ms)
        return job_id

    async def healthy_jobs_end(
        self, partitions: Sequence[int], within_s: float = 90.0
    ) -> list[str]:
        jobs = [await self.submit(partition) for partition in partitions]
        await self.live.all_end(jobs, within_s)
        return jobs

    async def look(
        self,
        job_ids: Sequence[str],
        names: Sequence[str],
        reads: Sequence[list[str]] = READS,
    ) -> None:
        """Run commands that read; doctor or verify must have named all of `names`."""
        url, namespace = self._stack.redis_url, self.log.keys.namespace
        found = await look_at_all(self._start, url, namespace, job_ids, reads)
        told = "".join(one.printed for one in found if one.arguments[0] in ("doctor", "audit"))
        assert [name for name in names if name not in told] == [], told[:10_000]

    async def until_no_string(self, key: str) -> None:
        """Wait until a key is no longer of another type."""

        async def is_other() -> bool:
            return await command(self.log.redis, "TYPE", key) != b"string"

        await eventually(is_other, within_s=60)


@pytest.fixture
def partitions() -> int:
    return 4


Open = Callable[[], AbstractAsyncContextManager[Case]]


@pytest.fixture
def living_case(
    log: Log, start_program: StartProgram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Open:
    """Open a case; whatever ends one of its processes is raised, and none may log a traceback."""

    @contextlib.asynccontextmanager
    async def case() -> AsyncIterator[Case]:
        stack = Stack(log, start_program, tmp_path)
        comfy = await stack.comfy()
        async with living(log.url.reveal(), log.keys.namespace, comfy.url) as live:
            yield Case(stack, live, start_program)
        assert [record.getMessage() for record in caplog.records if record.exc_info] == []

    return case


@pytest.fixture
async def log(redis_url: str, namespace: str, partitions: int) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=partitions) as log:
        yield log


async def wait_for_time(log: Log, time_ms: int) -> None:
    async def is_past() -> bool:
        return await server_time_ms(log.redis) > time_ms

    await eventually(is_past, within_s=30)


def test_every_key_kind_is_damaged() -> None:
    assert set(KINDS) == set(TYPES)


@pytest.mark.parametrize("partitions", [3 * len(RECORDS) + 2])
async def test_records_of_partitions(living_case: Open, partitions: int) -> None:
    """Each damage of each kind is in a partition of its own."""
    async with living_case() as case:
        every = range(partitions)
        before = await case.healthy_jobs_end(every)
        named, healthy = list[str](), set(every)
        for number, name in enumerate(RECORDS):
            kind = TYPES[name]
            for offset, damage in enumerate((strange_records(kind), another_type(kind), DELETED)):
                partition = 3 * number + offset
                key = key_of(case.log.keys, name, partition)
                await damage.write(case.log.redis, key)
                if offset == 1 or (offset == 0 and kind not in UNNAMED):
                    named.append(key)
                if KINDS[name].hurts and (offset or KINDS[name].is_ordered):
                    healthy.remove(partition)
        after = await case.healthy_jobs_end(sorted(healthy))
        await case.look([*before[:3], *after[:3]], named)


async def test_heads_of_waiting_jobs(living_case: Open) -> None:
    """Each field of a head has each value, in a job of its own that becomes due thereafter."""
    async with living_case() as case:
        before = await case.healthy_jobs_end(range(4))
        soon_ms = await server_time_ms(case.log.redis) + 5_000
        damages = [damage for field in KINDS["head"].fields for damage in field_damages(field)]
        for damage in (*damages, another_type("hash"), DELETED):
            job_id = await case.submit(0, run_at_ms=soon_ms)
            await damage.write(case.log.redis, case.log.keys.head(job_id))
        await wait_for_time(case.log, soon_ms + 2_000)
        # They stand behind all the damaged ones.
        after = await case.healthy_jobs_end(range(4))
        await case.look([*before, *after], [])


async def test_keys_of_the_namespace(living_case: Open) -> None:
    """The records of all are strange at once; then each has another type, and is deleted."""
    async with living_case() as case:
        keys = {name: key_of(case.log.keys, name, 0) for name in SINGLE}
        before = await case.healthy_jobs_end(range(4))
        for name, key in keys.items():
            await strange_records(TYPES[name]).write(case.log.redis, key)
        for text in VALUES.values():
            await command(case.log.redis, "PUBLISH", case.log.keys.wake(), text or b"")
        after = await case.healthy_jobs_end(range(4))
        healed = COPIES if case.log.keys.is_spread else set[str]()
        strange = [
            key
            for name, key in keys.items()
            if TYPES[name] == "hash" and not KINDS[name].fields and name not in healed
        ]
        await case.look([*before, *after], strange)
        for name in (name for name in SINGLE if name != "meta"):
            await another_type(TYPES[name]).write(case.log.redis, keys[name])
            jobs = await case.healthy_jobs_end([0])
            reads = [["doctor"], ["jobs", "ls"], ["backends", "ls"], ["consumers", "ls"]]
            await case.look(jobs, [keys[name]] if name not in healed else [], reads)
            if name in healed:
                await case.until_no_string(keys[name])
            if name != "subscriptions":  # that is how a subscription is removed
                await DELETED.write(case.log.redis, keys[name])
                await case.healthy_jobs_end([0])
