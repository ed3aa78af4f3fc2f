"""States and loads of the scripts that work on many jobs, partitions or hashes at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.appending.many.submits import JOBS_PER_CALL, ManySubmits, SubmitOutcome
from everfold.streams.appending.outcomes import Submission
from everfold.streams.appending.submitted_event import JobRequest
from everfold.streams.events.event import Policy
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.redis import scripts
from everfold.streams.redis.pages import PAGE, read_hashes, read_logs
from everfold.streams.redis.redis_errors import command
from tests.streams.scripts import script_states as shared
from tests.support.many_jobs import add_jobs

State = Callable[[Log], Awaitable[object]]

OTHER = {"1": {"class_type": "Other", "inputs": {}}}
MANY_FIELDS, MANY_QUEUES = 20_000, 500


async def find_work(log: Log) -> object:
    await shared.leased(log, "held")
    await shared.submit(log)
    keys = log.keys
    return await scripts.find_work(
        log.redis, clocks=[keys.clock(0)], tags=[keys.tag(0)], queues=["default"], latest_ms=0
    )


async def read_some_hashes(log: Log) -> object:
    await shared.leased(log, "a")
    await command(log.redis, "SET", log.keys.listening(), 1)
    return await read_hashes(log.redis, [log.keys.head("a"), log.keys.listening(), log.keys.meta()])


async def read_some_logs(log: Log) -> object:
    for name in "ab":
        await log.submit(shared.GRAPH, job_id=name)
    key = log.keys.log(0)
    return await read_logs(log.redis, {key: NO_ENTRY, f"{key}:absent": NO_ENTRY}, most=1)


async def read_many_entries(log: Log) -> None:
    await add_jobs(log, PAGE, "waiting")
    key = log.keys.log(0)
    after = {key: NO_ENTRY, **{f"{key}:{number}": NO_ENTRY for number in range(1, 256)}}
    read = await read_logs(log.redis, after, most=PAGE)
    [found] = read.found.values()
    assert isinstance(found, list)
    assert len(found) == PAGE


async def submit_some(log: Log) -> object:
    await submit_many(log, [(shared.GRAPH, "a"), (OTHER, "b")])
    return await submit_many(log, [(shared.GRAPH, "a"), (shared.GRAPH, "c"), (OTHER, "d")])


async def submit_many(log: Log, jobs: Sequence[tuple[object, str]]) -> list[SubmitOutcome]:
    common = JobRequest(workflow=None, user="ada", policy=Policy(queue_deadline_s=60))
    return await ManySubmits(log, common).submit(jobs)


async def submit_as_many_as_one_call_takes(log: Log) -> None:
    await add_jobs(log, MANY_FIELDS, "waiting")
    asked = [(shared.GRAPH, f"k{number}") for number in range(2 * JOBS_PER_CALL)]
    assert all(isinstance(one, Submission) for one in await submit_many(log, asked))


async def find_much_work(log: Log) -> None:
    await log.submit(shared.GRAPH)
    keys, queues = log.keys, ["default", *(f"q{number}" for number in range(MANY_QUEUES))]
    where = {"clocks": [keys.clock(0)], "tags": [keys.tag(0)], "queues": queues}
    _, found = await scripts.find_work(log.redis, **where, latest_ms=0)
    assert found[0][1] == [0]


async def read_many_fields(log: Log) -> None:
    flat = [text for number in range(MANY_FIELDS) for text in (f"field{number}", "x" * 50)]
    await command(log.redis, "HSET", log.keys.parked(0), *flat)
    read = await read_hashes(log.redis, [log.keys.parked(0), log.keys.meta()])
    assert read.found.keys() == {log.keys.meta()}  # too large for one answer


STATES: dict[str, tuple[State, ...]] = {
    "find_work": (find_work,),
    "read_hashes": (read_some_hashes,),
    "read_logs": (read_some_logs,),
    "submit_many": (submit_some,),
}
"""Script -> its states."""
