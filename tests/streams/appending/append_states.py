"""As script_states.py: states of append.lua in which one call is about several partitions, and of
submit.lua in which a job had its id before."""

from __future__ import annotations

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Succeeded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
DONE = Succeeded(attempt=1, outputs={})


async def end_in_two_partitions(log: Log) -> object:
    jobs = _jobs_of_one_call(log)
    for partition, job_id in jobs.items():
        await log.submit(GRAPH, job_id=job_id)
        await Dispatch(log, "r1").claim(partition, ["default"], 1)
    async with anyio.create_task_group() as tasks:
        for job_id in jobs.values():
            tasks.start_soon(_end, log, job_id)
    return None


async def _end(log: Log, job_id: str) -> None:
    await log.append(job_id, DONE, epoch=1)


def _jobs_of_one_call(log: Log) -> dict[int, str]:
    """Return partition -> a job of it, of two whose appends are gathered together."""
    jobs = {log.keys.partition_of(name): name for name in "abcdefghijklm"}
    return {partition: jobs[partition] for partition in (0, 2)}


async def submit_again_after_a_trim(log: Log) -> object:
    for rebuilding in (False, True):
        state = log.keys.jobs(0, rebuilding=rebuilding).job("a")
        await command(log.redis, "HSET", state, "seq", 5)
    return await log.submit(GRAPH, job_id="a")


STATES = {"append": (end_in_two_partitions,), "submit": (submit_again_after_a_trim,)}
PARTITIONS = {end_in_two_partitions: 3}
"""Of the namespace in which a state is prepared, where it is not one."""
