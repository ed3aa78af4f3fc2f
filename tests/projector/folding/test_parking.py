"""Parked jobs: seen, folded again, or folded on without the event that nobody can read."""

from __future__ import annotations

import pytest

from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.parking import GAP, parked_jobs, retry, skip
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.job.state import from_fields
from everfold.projector.reading.queries import at, current
from everfold.projector.reading.verify import verify
from everfold.projector.reading.watching import Watcher
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import JobNotParked, Refused, UndecodableEvent
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Canceled, CancelRequested
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.jobs import add_raw, assert_projected, make_jobs, projecting
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

STRANGE = b'{"type":"job.teleported","id":"x","actor":"y","v":1}'


async def park(log: Log) -> str:
    """Return a job with an event that nobody can read, and one more after it."""
    [job_id] = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, STRANGE)
    await log.append(job_id, CancelRequested(reason="enough"), epoch=0)
    await eventually(lambda: is_parked(log, job_id), 10)
    return job_id


async def is_parked(log: Log, job_id: str) -> bool:
    return job_id in [job.job_id for job in await parked_jobs(log) if not job.parked.retry]


async def is_free(log: Log, job_id: str) -> bool:
    return job_id not in [job.job_id for job in await parked_jobs(log)]


async def stored_seq(log: Log, job_id: str) -> int:
    state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
    return state.seq if state is not None else 0


async def test_a_parked_job_is_listed_with_its_event_and_the_reason(log: Log) -> None:
    async with projecting(log):
        job_id = await park(log)
    [found] = await parked_jobs(log)
    assert (found.job_id, found.parked.seq) == (job_id, 2)
    assert "job.teleported" in found.parked.why


async def test_retrying_what_still_cannot_be_read_parks_it_again(log: Log) -> None:
    async with projecting(log):
        job_id = await park(log)
        await retry(log, job_id)
        await eventually(lambda: is_parked(log, job_id), 10)
        assert await stored_seq(log, job_id) == 1


async def test_an_event_that_can_be_read_by_now_is_folded_when_retried(log: Log) -> None:
    """As after an upgrade; here the entry is made readable by giving the log another one."""
    async with projecting(log):
        job_id = await park(log)
        await _replace_entry(log, job_id, encode(CancelRequested(id="a", actor="b", reason="x")))
        await retry(log, job_id)
        await eventually(lambda: is_free(log, job_id), 10)
        state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
        assert state is not None
        assert (state.seq, state.status, state.reason) == (3, "canceling", "enough")
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        await assert_projected(log, [job_id])


async def _replace_entry(log: Log, job_id: str, payload: bytes) -> None:
    """Write the partition's log anew with another payload for the strange event."""
    key = log.keys.log(log.keys.partition_of(job_id))
    rows = await command(log.redis, "XRANGE", key, "-", "+")
    groups = await command(log.redis, "XINFO GROUPS", key)
    delivered = dict(zip(groups[0][::2], groups[0][1::2], strict=True))[b"last-delivered-id"]  # type: ignore[index]
    await command(log.redis, "DEL", key)
    for entry_id, fields in rows:  # type: ignore[attr-defined]
        told = [payload if field == STRANGE else field for field in fields]
        await command(log.redis, "XADD", key, entry_id, *told)
    await command(log.redis, "XGROUP CREATE", key, "projector", delivered)


async def test_a_skipped_event_is_passed_over_by_every_fold(log: Log) -> None:
    async with projecting(log):
        job_id = await park(log)
        with pytest.raises(UndecodableEvent):
            await at(log, job_id, 3)
        await skip(log, job_id, "ada")
        await eventually(lambda: is_free(log, job_id), 10)
        assert await stored_seq(log, job_id) == 3
        assert (await current(log, job_id)).status == "canceling"
        assert (await at(log, job_id, 3)).reason == "enough"
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        async with Watcher(log) as watcher:
            seen = [job.seq async for job in watcher.watch(job_id)]
        assert seen == [1, 2, 3, 4]
        await eventually(lambda: _is_at(log, job_id, 4), 10)
        report = await verify(log)
        assert [str(found) for found in report.differences if found.invariant == 4] == []
        await Rebuild(log, JobsProjection()).run()
        assert await stored_seq(log, job_id) == 4
        assert await parked_jobs(log) == []


async def _is_at(log: Log, job_id: str, seq: int) -> bool:
    return await stored_seq(log, job_id) == seq


async def test_an_entry_that_belongs_to_no_job_can_be_skipped(log: Log) -> None:
    async with projecting(log):
        entry_id = await command(log.redis, "XADD", log.keys.log(0), "*", "not", "ours")
        name = entry_id.decode()  # type: ignore[attr-defined]
        await eventually(lambda: is_parked(log, name), 10)
        await skip(log, name, "ada")
        await eventually(lambda: is_free(log, name), 10)
        await Rebuild(log, JobsProjection()).run()
        assert await parked_jobs(log) == []


async def test_what_is_missing_cannot_be_skipped(log: Log) -> None:
    async with projecting(log):
        [job_id] = await make_jobs(log, 1)
        await assert_projected(log, [job_id])
        await add_raw(log, job_id, 5, encode(CancelRequested(id="a", actor="b")))
        await eventually(lambda: is_parked(log, job_id), 10)
        [found] = await parked_jobs(log)
        assert found.parked.cause == GAP
        with pytest.raises(Refused, match="missing"):
            await skip(log, job_id, "ada")


async def test_a_job_that_is_not_parked_can_be_neither_retried_nor_skipped(log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    for ask in (retry(log, job_id), skip(log, job_id, "ada"), retry(log, "nobody")):
        with pytest.raises(JobNotParked):
            await ask


async def test_a_retry_without_a_projector_waits_for_one(log: Log) -> None:
    async with projecting(log):
        job_id = await park(log)
    await skip(log, job_id, "ada")
    assert not await is_free(log, job_id)
    async with projecting(log):
        await eventually(lambda: is_free(log, job_id), 10)
    assert len(await job_events(log, job_id)) == 3
