"""With a key nothing that belongs to a user is plain in the log, and a key that is gone is gone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

import anyio
import pytest
from msgspec.structs import replace

from everfold.projector.reading.queries import current
from everfold.streams.appending.body import check_stored
from everfold.streams.appending.job_input import JobInput, load_input, load_needs
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.archive.segment import LINE_LIMIT_BYTES
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import IdempotencyConflict, InvalidName, SealKeyMissing
from everfold.streams.events.codec import decode
from everfold.streams.events.event import (
    CancelRequested,
    Failure,
    OutputSaved,
    Released,
    Retried,
    Submitted,
    Succeeded,
)
from everfold.streams.events.limits import EXTRA_DATA_LIMIT_BYTES, WORKFLOW_LIMIT_BYTES
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.sealing.cipher import Cipher
from everfold.streams.sealing.user_keys import drop_key, field_of, make_key, stored_key
from tests.support.everything import everything_stored
from tests.support.network.ciphers import CIPHER, OTHER_CIPHER

pytestmark = pytest.mark.anyio

WORD = "violet-hippopotamus"
GRAPH = {"1": {"class_type": "Text", "inputs": {"text": f"a {WORD}"}}}
ADA: dict[str, object] = {
    "user": "ada",
    "metadata": {"about": WORD, "n": [1.0, True]},
    "idempotency_key": "k",
    "extra_data": {"extra_pnginfo": {"title": WORD}},
}


def opened_log(url: str, namespace: str, cipher: Cipher | None) -> AbstractAsyncContextManager[Log]:
    return Log.open(url, namespace=namespace, partitions=1, cipher=cipher)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with opened_log(redis_url, namespace, CIPHER) as log:
        yield log


@pytest.fixture
async def plain(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    """The log of a process without a key."""
    async with opened_log(redis_url, namespace, None) as log:
        yield log


async def submitted(log: Log, **changes: object) -> str:
    made = await log.submit(GRAPH, **{**ADA, **changes})  # type: ignore[arg-type]
    return made.job_id


async def claimed(log: Log) -> Lease:
    dispatch = Dispatch(log, "r1")
    await dispatch.promote(0)
    (lease,) = await dispatch.claim(0, ["default"], 1)
    return lease


async def test_the_whole_life_of_a_job_leaves_no_plain_word_and_reads_as_it_was(log: Log) -> None:
    job_id = await submitted(log)
    lease = await claimed(log)
    dispatch = Dispatch(log, "r1")
    failure = Failure(code="x", message=f"no {WORD}", traceback=f"at {WORD}")
    output: dict[str, object] = {"images": [{"filename": f"{WORD}.png", "type": "output"}]}
    await log.append(job_id, OutputSaved(attempt=0, node="9", output=output), epoch=1)
    await dispatch.release(lease, Retried(attempt=0, failure=failure, not_before_ms=1), wait_s=0.0)
    lease = await claimed(log)
    await dispatch.release(lease, Released(reason="cannot_run", why=WORD), wait_s=0.0)
    lease = await claimed(log)
    await log.append(job_id, CancelRequested(reason=WORD), epoch=0)
    await log.append(job_id, Succeeded(attempt=0, outputs={"9": output}), epoch=lease.epoch)

    assert WORD.encode() not in await everything_stored(log)
    job = await current(log, job_id)
    told = await log.opened(job, job_id)
    assert (told.metadata, told.outputs) == (ADA["metadata"], {"9": output})
    assert is_sealed(job.metadata)
    events = [record.event for record in await log.opened_records(await job_events(log, job_id))]
    texts = [getattr(event, "why", "") or getattr(event, "reason", "") for event in events]
    assert WORD in texts
    assert [event.failure for event in events if isinstance(event, Retried)] == [failure]


async def test_opened_records_have_the_payload_of_a_plain_log(log: Log) -> None:
    job_id = await submitted(log)

    (stored,) = await job_events(log, job_id)
    (record,) = await log.opened_records([stored])
    assert record.event == decode(record.payload)
    assert isinstance(record.event, Submitted)
    assert record.event.metadata == ADA["metadata"]
    assert replace(record, event=stored.event, payload=stored.payload) == stored


async def test_what_a_job_sends_is_read_with_the_key_and_not_without(log: Log, plain: Log) -> None:
    with_extra, alone = await submitted(log), await submitted(log, user="bob", extra_data=None)

    for job_id, extra in ((with_extra, ADA["extra_data"]), (alone, {})):
        job = await current(log, job_id)
        found = await load_input(log, job)
        assert isinstance(found, JobInput)
        assert WORD.encode() in found.workflow
        assert found.extra_data == extra
        assert (await load_needs(log, job_id, job.stored, ())).signature
        assert not (await load_needs(plain, job_id, job.stored, ())).signature
        with pytest.raises(SealKeyMissing):
            await load_input(plain, job)


async def test_a_process_without_the_key_reads_what_is_stored(log: Log, plain: Log) -> None:
    job_id = await submitted(log)
    job = await current(plain, job_id)

    assert is_sealed(job.metadata)
    assert await plain.opened(job, job_id) == job
    assert await plain.opened_records(await job_events(plain, job_id)) == await job_events(
        log, job_id
    )
    assert "EVERFOLD_SEAL_KEY" in await plain.why_locked(job.metadata)
    assert not await log.why_locked(job.metadata)


async def test_another_key_of_the_environment_opens_nothing(
    log: Log, redis_url: str, namespace: str
) -> None:
    job_id = await submitted(log)

    async with opened_log(redis_url, namespace, OTHER_CIPHER) as other:
        job = await current(other, job_id)
        told = await other.opened(job, job_id)
        assert told.metadata == {"everfold_sealed": "sealed"}
        assert "EVERFOLD_SEAL_KEY" in await other.why_locked(job.metadata)
        with pytest.raises(SealKeyMissing):
            await load_input(other, job)
        with pytest.raises(SealKeyMissing):
            await submitted(other, idempotency_key=None)


async def test_a_repeat_is_the_same_job_and_another_content_is_named(log: Log) -> None:
    job_id = await submitted(log)

    assert await submitted(log) == job_id
    reordered = dict(reversed(cast("dict[str, object]", ADA["metadata"]).items()))
    assert await submitted(log, metadata=reordered) == job_id
    for name, value in (("metadata", {"about": 1}), ("extra_data", None), ("kind", "x")):
        with pytest.raises(IdempotencyConflict) as raised:
            await submitted(log, **{name: value})
        assert raised.value.what == name
    with pytest.raises(IdempotencyConflict) as raised:
        await log.submit({"1": {"class_type": "B", "inputs": {}}}, **ADA)  # type: ignore[arg-type]
    assert raised.value.what == "workflow"


async def test_a_repeat_of_a_job_from_before_the_first_key_is_the_same_job(
    log: Log, plain: Log
) -> None:
    for extra in (ADA["extra_data"], None):
        user = f"ada with {extra}"
        job_id = await submitted(plain, user=user, extra_data=extra)
        assert await submitted(log, user=user, extra_data=extra) == job_id
        with pytest.raises(IdempotencyConflict) as raised:
            await submitted(log, user=user, extra_data=extra, metadata={})
        assert raised.value.what == "metadata"


async def test_a_repeat_of_an_erased_job_is_a_conflict_that_says_so(log: Log) -> None:
    await submitted(log)
    await drop_key(log.redis, log.keys, "ada")

    with pytest.raises(IdempotencyConflict, match="erased"):
        await submitted(log)


async def test_without_its_key_everything_of_a_user_is_erased_and_nothing_of_others(
    log: Log, redis_url: str, namespace: str
) -> None:
    ada, bob = await submitted(log), await submitted(log, user="bob")
    assert await drop_key(log.redis, log.keys, "ada")
    assert not await drop_key(log.redis, log.keys, "ada")

    async with opened_log(redis_url, namespace, CIPHER) as later:
        job = await current(later, ada)
        assert (await later.opened(job, ada)).metadata == {"everfold_sealed": "erased"}
        found = await load_input(later, job)
        assert isinstance(found, Failure)
        assert found.code == "workflow_gone"
        assert not await later.why_locked(job.metadata)
        assert (await later.opened(await current(later, bob), bob)).metadata == ADA["metadata"]
        again = await submitted(later, idempotency_key=None)
        assert isinstance(await load_input(later, await current(later, again)), JobInput)
        assert isinstance(await load_input(later, job), Failure)


async def test_a_submit_never_takes_a_key_that_was_thrown_away(log: Log) -> None:
    """Though this process remembers it."""
    await submitted(log)
    await drop_key(log.redis, log.keys, "ada")

    again = await submitted(log, idempotency_key=None)
    found = await load_input(log, await current(log, again))
    assert isinstance(found, JobInput)


async def test_of_many_that_make_the_key_of_a_user_one_decides(log: Log) -> None:
    made = set()

    async def make() -> None:
        made.add((await make_key(log.redis, log.keys, field_of("ada"), CIPHER)).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(make)

    found = await stored_key(log.redis, log.keys, field_of("ada"))
    assert found is not None
    assert made == {found.id}


async def test_equal_graphs_of_one_user_are_stored_once(log: Log) -> None:
    first, second = await submitted(log), await submitted(log, idempotency_key=None)
    other = await submitted(log, user="bob")

    jobs = [await current(log, job_id) for job_id in (first, second, other)]
    assert jobs[0].stored == jobs[1].stored != jobs[2].stored
    assert jobs[0].workflow != jobs[0].body


async def test_a_key_that_was_damaged_is_named_and_breaks_no_reader(log: Log) -> None:
    job_id = await submitted(log)
    found = await stored_key(log.redis, log.keys, field_of("ada"))
    assert found is not None
    text = b'{"id":"%b","by":"%b","wrapped":"AAAA"}' % (found.id.encode(), found.by.encode())
    await command(log.redis, "HSET", log.keys.user_keys(), field_of("ada"), text)
    assert log.sealing is not None
    log.sealing.forget()

    job = await current(log, job_id)
    assert (await log.opened(job, job_id)).metadata == {"everfold_sealed": "damaged"}
    assert "damaged" in await log.why_locked(job.metadata)


async def test_the_largest_graph_and_extra_data_fit_into_log_archive_and_export(
    log: Log, tmp_path: Path
) -> None:
    extra = {"x": '"' * (EXTRA_DATA_LIMIT_BYTES // 2 - 10)}
    graph = {"1": {"class_type": "A", "inputs": {"t": '"' * (WORKFLOW_LIMIT_BYTES // 2 - 50)}}}
    made = await log.submit(graph, user="ada", extra_data=extra)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)

    job = await current(log, made.job_id)
    found = await load_input(log, job)
    assert isinstance(found, JobInput)
    assert found.extra_data == extra
    kept = await archive.workflow(job.stored)
    assert kept == await log.workflow(made.job_id, job.stored)
    assert kept is not None
    check_stored(kept.decode())
    assert len(json.dumps(kept.decode())) < LINE_LIMIT_BYTES
    (link,) = await archive.links(0)
    assert await archive.checked(link)


async def test_the_name_of_what_is_sealed_is_reserved(plain: Log) -> None:
    sealed = f"{'a' * 40}.{'A' * 30}"

    with pytest.raises(InvalidName):
        await submitted(plain, metadata={"everfold_sealed": sealed})


async def test_without_a_key_no_user_gets_one(plain: Log) -> None:
    await submitted(plain)

    assert await command(plain.redis, "EXISTS", plain.keys.user_keys()) == 0
    assert WORD.encode() in await everything_stored(plain)
