"""An entry that is not the job's own in the chain of its events makes that one job unreadable."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.projector.reading.queries import current
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.errors import BrokenChain
from everfold.streams.reading.reader import job_tail
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        log.retry_for_s = 0.0
        yield log


async def strange(log: Log, kind: str, job_id: str, last: str) -> str:
    """Return what the job's head names as its last entry."""
    if kind == "text":
        return "no entry id"
    fields = {
        "foreign": ("x", "1"),
        "of another job": ("j", "other", "s", "2", "e", "0", "p", last, "d", "{}"),
        "without a number": ("j", job_id, "s", "x", "e", "0", "p", last, "d", "{}"),
        "chained to itself": ("j", job_id, "s", "2", "e", "0", "p", "9" * 15 + "-0", "d", "{}"),
    }
    made = await command(log.redis, "XADD", log.keys.log(0), "*", *fields[kind])
    assert isinstance(made, bytes)
    return made.decode()


@pytest.mark.parametrize(
    "kind", ["foreign", "of another job", "without a number", "chained to itself", "text"]
)
async def test_one_job_is_unreadable_and_named(log: Log, kind: str) -> None:
    broken, whole = await make_jobs(log, 2)
    head = await read_hash(log.redis, log.keys.head(broken))
    last = await strange(log, kind, broken, head[b"last"].decode())
    await command(log.redis, "HSET", log.keys.head(broken), "last", last, "seq", 2)
    with anyio.fail_after(20):
        assert (await job_tail(log, broken)).strange_entry
        with pytest.raises(BrokenChain):
            await current(log, broken)
        assert (await current(log, whole)).seq == 1
        report = await verify(log)
    assert broken in {difference.job_id for difference in report.differences}
    assert whole not in {difference.job_id for difference in report.differences}
    assert any("chain" in difference.where for difference in report.differences)
