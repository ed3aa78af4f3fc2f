"""The commit script: all or nothing, and only from the right place."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from everfold.projector.assignment.member import Member
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_commit import FoldedBatch, Part, StateChange, commit_jobs
from everfold.projector.folding.projection import (
    CommitRequest,
    Committed,
    Gap,
    Moved,
    NotOwner,
    Outcome,
    PendingElsewhere,
)
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.redis_errors import command, read_hash
from tests.projector.jobs import (
    consuming,
    is_gone,
    one_job_in_partition,
    owner_of,
    read_all,
    work,
)

pytestmark = pytest.mark.anyio


async def try_commit(
    log: Log,
    token: str,
    records: Sequence[Recorded],
    *,
    before: Sequence[Recorded] = (),
    pretend_seq: int | None = None,
    checkpoint: str = NO_ENTRY,
    config: ProjectorConfig | None = None,
) -> Outcome | Gap:
    """Commit the fold of one job's `records` to partition 0."""
    base = fold(before)
    start = base if pretend_seq is None else Job(job_id=records[0].job_id, seq=pretend_seq)
    entry_ids = [record.entry_id for record in records]
    changes = [StateChange(start, fold(records, base))]
    request = CommitRequest(
        token=token,
        expected_checkpoint=checkpoint,
        new_checkpoint=entry_ids[-1],
        group=PROJECTOR_GROUP,
    )
    batch = FoldedBatch(changes=changes, events=len(records))
    config = config or ProjectorConfig()
    [outcome] = await commit_jobs(log, config, [Part(0, log.keys.jobs(0), request, batch)])
    if isinstance(outcome, EverfoldError):
        raise outcome
    return outcome


async def everything(log: Log) -> list[object]:
    """Return all that a commit may change."""
    keys = log.keys
    return [
        await read_hash(log.redis, keys.projector(0)),
        await command(log.redis, "ZRANGE", keys.active(0), 0, -1, "WITHSCORES"),
        await command(log.redis, "ZRANGE", keys.ended(0), 0, -1, "WITHSCORES"),
        await command(log.redis, "XPENDING", keys.log(0), "projector"),
    ]


async def test_a_refused_commit_writes_nothing_and_says_why(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group, consuming(log, "thief") as thief:
        records = [r for r in await read_all(log, group) if r.job_id == job_id]
        before = await everything(log)

        assert await try_commit(log, "somebody-else", records) == NotOwner(owner.token)
        found = await try_commit(log, owner.token, records, pretend_seq=7)
        assert found == Gap({job_id: 0})
        found = await try_commit(log, owner.token, records, checkpoint="5-0")
        assert found == Moved(NO_ENTRY)
        assert await everything(log) == before

        await one_job_in_partition(log, 0)
        await thief.read_new(0)
        assert await try_commit(log, owner.token, records) == PendingElsewhere("thief")
        assert await is_gone(log, job_id)
        gone = (log.keys.log(0), PROJECTOR_GROUP, "thief")
        await command(log.redis, "XGROUP DELCONSUMER", *gone)
        assert await try_commit(log, owner.token, records) == Committed()


async def test_a_commit_whose_answer_was_lost_is_not_repeated(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group:
        records = [r for r in await read_all(log, group) if r.job_id == job_id]
    assert await try_commit(log, owner.token, records) == Committed()
    before = await everything(log)
    last = records[-1].entry_id
    assert await try_commit(log, owner.token, records) == Moved(last)
    assert await everything(log) == before


async def test_a_state_that_is_further_stays_and_the_rest_is_written(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    await work(log)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group:
        await group.create(0)
    records = await job_events(log, job_id)
    assert await try_commit(log, owner.token, records) == Committed()
    last = records[-1].entry_id
    assert await try_commit(log, owner.token, records[:2], checkpoint=last) == Committed()
    state = from_fields(await read_hash(log.redis, log.keys.job(job_id)))
    assert state == fold(records)


async def test_a_state_lives_from_its_last_event_not_from_its_commit(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group:
        records = [r for r in await read_all(log, group) if r.job_id == job_id]
    config = ProjectorConfig(job_ttl_s=100)
    assert await try_commit(log, owner.token, records, config=config) == Committed()
    until_ms = await command(log.redis, "PEXPIRETIME", log.keys.job(job_id))
    assert isinstance(until_ms, int)
    assert 0 <= until_ms - (records[-1].time_ms + 100_000) <= config.open_step_ms == 1_000


async def test_a_job_that_ended_too_long_ago_gets_no_state_and_no_place(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    await work(log)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group:
        await group.create(0)
    records = await job_events(log, job_id)
    config = ProjectorConfig(terminal_ttl_s=0)
    begun, ended = records[:3], records[3:]
    assert await try_commit(log, owner.token, begun, config=config) == Committed()
    assert not await is_gone(log, job_id)
    last = begun[-1].entry_id
    found = await try_commit(log, owner.token, ended, before=begun, checkpoint=last, config=config)
    assert found == Committed()
    assert await is_gone(log, job_id)
    for index in (log.keys.active(0), log.keys.ended(0)):
        assert await command(log.redis, "ZSCORE", index, job_id) is None


async def test_ending_moves_a_job_from_one_index_to_the_other(log: Log) -> None:
    job_id = await one_job_in_partition(log, 0)
    await work(log)
    owner = await owner_of(log)
    async with consuming(log, owner.token) as group:
        await group.create(0)
    records = await job_events(log, job_id)
    begun, ended = records[:3], records[3:]
    await try_commit(log, owner.token, begun)
    active, over = log.keys.active(0), log.keys.ended(0)
    score = await command(log.redis, "ZSCORE", active, job_id)
    assert score == str(begun[-1].time_ms).encode()
    await try_commit(log, owner.token, ended, before=begun, checkpoint=begun[-1].entry_id)
    assert await command(log.redis, "ZSCORE", active, job_id) is None
    score = await command(log.redis, "ZSCORE", over, job_id)
    assert score == str(ended[-1].time_ms).encode()


async def test_what_is_wrong_in_one_partition_stops_no_other_of_the_call(log: Log) -> None:
    if not log.redis.is_one_server:
        pytest.skip("a call has one partition there")
    parts = list[Part]()
    for partition in range(3):
        job_id = await one_job_in_partition(log, partition)
        owner = Member(log, "jobs", "test", 60)
        await owner.acquire(log.keys.projector(partition))
        await ConsumerGroup(log, PROJECTOR_GROUP, owner.token).create(partition)
        records = await job_events(log, job_id)
        token = "somebody-else" if partition == 0 else owner.token
        request = CommitRequest(
            token=token,
            expected_checkpoint=NO_ENTRY,
            new_checkpoint=records[-1].entry_id,
            group=PROJECTOR_GROUP,
        )
        batch = FoldedBatch(changes=[StateChange(Job(), fold(records))], events=1)
        parts.append(Part(partition, log.keys.jobs(partition), request, batch))
    await command(log.redis, "SET", log.keys.jobs(1).index(), "x")

    outcomes = await commit_jobs(log, ProjectorConfig(), parts)

    assert isinstance(outcomes[0], NotOwner)
    assert isinstance(outcomes[1], WrongKeyType)
    assert outcomes[2] == Committed()
    stored = [
        await command(log.redis, "ZCARD", log.keys.active(partition)) for partition in range(3)
    ]
    assert stored == [0, 0, 1]
