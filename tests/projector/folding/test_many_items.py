"""Scripts and reads with 20,000 items per call: no list is unpacked whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.projector.folding.parking import Parked, read_parked, retry
from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.own_leases import PAGE
from everfold.streams.redis.redis_errors import command
from tests.support.many_jobs import add_jobs
from tests.support.servers import client

pytestmark = pytest.mark.anyio

MANY = 20_000
TEXT = '{"seq":1,"entry_id":"1-0","why":"x"}'


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def test_states_of_many_jobs_are_measured_and_read(log: Log) -> None:
    await command(log.redis, "HSET", log.keys.job("j7"), "seq", 1, "job_id", "j7")
    found = await read_stored_jobs(log, [f"j{n}" for n in range(MANY)])
    assert [job.job_id for job in found if job is not None] == ["j7"]
    assert len(found) == MANY


async def test_a_hash_of_many_fields_is_read_in_pages(log: Log) -> None:
    key = log.keys.parked(0)
    fields = [text for n in range(MANY) for text in (f"j{n}", TEXT)]
    await command(log.redis, "HSET", key, *fields)
    found = await read_parked(log, key)
    assert len(found) == MANY
    assert found["j7"] == Parked(1, "1-0", "x")


async def test_one_parked_job_of_many_is_found_without_reading_the_others(
    log: Log, redis_url: str
) -> None:
    key = log.keys.parked(0)
    fields = [text for n in range(MANY) for text in (f"j{n}", TEXT)]
    await command(log.redis, "HSET", key, *fields)
    with client(redis_url) as admin:
        admin.config_resetstat()
        await retry(log, "j7")
        used = admin.info("commandstats")
    assert {"cmdstat_hscan", "cmdstat_hgetall"}.isdisjoint(used)
    parked = await read_parked(log, key)
    assert [job_id for job_id, found in parked.items() if found.retry] == ["j7"]


async def test_leases_of_many_pages_are_each_named_once(log: Log) -> None:
    jobs = await add_jobs(log, 2 * PAGE + 1, "leased", "r1")
    leases = await Dispatch(log, "r1").own_leases([("default", "normal")])
    assert [lease.job_id for lease in leases] == jobs
