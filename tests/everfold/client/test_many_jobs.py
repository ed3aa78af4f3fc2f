"""What is done to many jobs, and to jobs that have ended: rerun, cancel, batches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from everfold import AssetInput, BatchProgress, Everfold, JobFilter
from everfold.changed_graph import changed_graph
from everfold.streams.appending.job_input import JobInput, load_input
from everfold.streams.errors import InvalidName, JobUnknown, Refused
from everfold.streams.events.event import Failed, Failure, Policy, Succeeded
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import caught_up, projecting, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "color": "red", "on": True}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "strength": 1.5}},
}


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=4) as client:
        await client.log.make()
        yield client


FAILURE = Failure(code="out_of_memory", message="no room")


async def fail_all(everfold: Everfold) -> None:
    producer = Producer(everfold.log, "r")
    for lease in await work(everfold.log, steps=1, finish=False):
        await producer.finish(lease, Failed(failure=FAILURE, attempt=1))


PHOTO = AssetInput(
    asset="0e8b4b0c-9a44-5e0e-8c8a-3b0f3c9d4e5f",
    hash="blake3:" + "ab" * 32,
    size_bytes=3,
    media_type="image/png",
    name="photo.png",
)
WITH_PHOTO = {
    **GRAPH,
    "3": {"class_type": "LoadImage", "inputs": {"image": f"everfold:{PHOTO.asset}"}},
}


async def test_a_job_that_runs_again_sends_the_same_files_but_for_those_that_are_changed(
    everfold: Everfold,
) -> None:
    made = await everfold.log.submit(WITH_PHOTO, inputs={"3.image": PHOTO})
    await fail_all(everfold)
    again = await everfold.get(await everfold.rerun(made.job_id, {"1.width": 1}))
    assert again.inputs == {"3.image": PHOTO}
    plain = await everfold.get(await everfold.rerun(made.job_id, {"3.image": "example.png"}))
    assert plain.inputs == {}
    with pytest.raises(Refused, match=r"input 3\.image is not taken"):
        await everfold.rerun(made.job_id, {"3.image": "blake3:" + "cd" * 32})


async def test_a_job_runs_again_as_it_was_with_changes(everfold: Everfold) -> None:
    made = await everfold.submit(
        GRAPH,
        kind="k",
        user="ada",
        metadata={"order": 1},
        batch="b",
        tags=["t"],
        policy=Policy(retries=3),
        idempotency_key="order-1",
        extra_data={"extra_pnginfo": {"a": 1}},
    )
    with pytest.raises(Refused, match="only one that has ended"):
        await everfold.rerun(made.job_id)
    await fail_all(everfold)
    again = await everfold.rerun(made.job_id, {"1.width": "128", "2.strength": 2})
    old, new = await everfold.get(made.job_id), await everfold.get(again)
    assert (new.status, new.rerun_of, old.rerun_of) == ("queued", made.job_id, "")
    same = ("kind", "user", "metadata", "batch", "tags", "policy", "queue", "priority", "needs")
    assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]
    sent = await load_input(everfold.log, new)
    assert isinstance(sent, JobInput)
    assert sent.extra_data == {"extra_pnginfo": {"a": 1}}
    graph = json.loads(sent.workflow)
    assert graph["1"]["inputs"] == {"width": 128, "color": "red", "on": True}
    assert graph["2"]["inputs"] == {"images": ["1", 0], "strength": 2}
    assert [(one.verb, one.subject) for one in await everfold.acts()] == [
        ("rerun_jobs", made.job_id)
    ]


async def test_a_graph_that_is_gone_or_a_job_that_is_not_there_cannot_run_again(
    everfold: Everfold,
) -> None:
    made = await everfold.submit(GRAPH)
    await fail_all(everfold)
    job = await everfold.get(made.job_id)
    keys = everfold.log.keys
    await command(
        everfold.log.redis, "DEL", keys.workflow(keys.partition_of(made.job_id), job.workflow)
    )
    with pytest.raises(Refused, match="cannot be run again"):
        await everfold.rerun(made.job_id)
    with pytest.raises(JobUnknown):
        await everfold.rerun("nobody")
    assert await everfold.acts() == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("1.widht", 5, "did you mean width"),
        ("11.width", 5, "did you mean 1"),
        ("7.x", 5, "there are 1, 2"),
        ("1", 5, "no input ''"),
        ("1.width", "wide", "a number"),
        ("1.width", [1], "a number"),
        ("1.on", "yes", "true or false"),
        ("1.on", 1, "true or false"),
        ("1.color", 5, "a text"),
        ("2.images", "x", "a list"),
    ],
)
def test_a_change_that_the_graph_does_not_have_is_refused(
    place: str, value: object, said: str
) -> None:
    with pytest.raises(InvalidName, match=said):
        changed_graph(json.dumps(GRAPH).encode(), {place: value})


@pytest.mark.parametrize(
    ("place", "value", "read"),
    [
        ("1.width", "7", 7),
        ("1.width", 7.5, 7.5),
        ("1.color", "7", "7"),
        ("1.on", "false", False),
        ("2.images", '["1", 1]', ["1", 1]),
        ("1.width", "18446744073709551615", 2**64 - 1),
    ],
)
def test_a_text_is_read_as_the_type_that_the_graph_has(
    place: str, value: object, read: object
) -> None:
    graph = json.loads(changed_graph(json.dumps(GRAPH).encode(), {place: value}))
    node, name = place.split(".")
    assert graph[node]["inputs"][name] == read
    assert type(graph[node]["inputs"][name]) is type(read)


async def test_many_jobs_are_run_again_once_each(everfold: Everfold) -> None:
    async with projecting(everfold.log):
        for i in range(8):
            await everfold.submit(GRAPH, user="ada" if i % 2 else "bob")
        await fail_all(everfold)
        open_job = (await everfold.submit(GRAPH, user="ada")).job_id
        await eventually(lambda: caught_up(everfold.log))
        ada = JobFilter(user="ada")
        assert (await everfold.rerun_many(ada)).outcomes == {"rerun": 4}
        assert (await everfold.rerun_many(ada)).outcomes == {"already rerun": 4}
        done = await everfold.rerun_many([open_job, "nobody"])
        assert done.outcomes == {"still open": 1, "gone": 1}
        assert (await everfold.rerun_many(ada, {"1.width": 3})).outcomes == {"rerun": 4}
        done = await everfold.rerun_many(ada, {"1.widht": 3})
        assert (done.outcomes, len(done.refused)) == ({"refused": 4}, 4)
        page = await everfold.list(user="ada", statuses=["queued"])
        assert len(page.jobs) == 9
    acts = await everfold.acts()
    assert {one.verb for one in acts} == {"rerun_jobs"}
    assert acts[0].subject == "user=ada"
    assert acts[0].detail.startswith("4 jobs")


async def test_many_jobs_are_canceled_and_what_has_ended_is_said(everfold: Everfold) -> None:
    async with projecting(everfold.log):
        for _ in range(3):
            await everfold.submit(GRAPH, user="ada")
        await fail_all(everfold)
        running = [(await everfold.submit(GRAPH, user="ada")).job_id for _ in range(2)]
        await work(everfold.log, finish=False)
        waiting = [(await everfold.submit(GRAPH, user="ada")).job_id for _ in range(12)]
        other = (await everfold.submit(GRAPH, user="bob")).job_id
        await eventually(lambda: caught_up(everfold.log))
        done = await everfold.cancel_many(JobFilter(user="ada"), "too many")
        assert done.outcomes == {"canceled": 12, "canceling": 2}
        assert done.selected == 14
        for job_id in waiting:
            assert (await everfold.get(job_id)).reason == "too many"
        assert (await everfold.get(other)).status == "queued"
        chosen = [*running, *waiting, "nobody"]
        done = await everfold.cancel_many(chosen)
        assert done.outcomes == {"already ended": 12, "canceling": 2, "gone": 1}


async def test_a_batch_is_followed_from_its_first_job_to_its_last(everfold: Everfold) -> None:
    batch = everfold.batch("july")
    empty = await batch.progress()
    assert (empty.total, empty.is_over, empty.by_status) == (0, True, {})
    jobs = [(await everfold.submit(GRAPH, batch="july")).job_id for _ in range(6)]
    await everfold.submit(GRAPH, batch="july2")
    seen = await batch.progress()
    assert (seen.total, seen.by_status) == (6, {"queued": 6}), "this client knows what it submitted"
    async with projecting(everfold.log):
        await eventually(lambda: caught_up(everfold.log))
        leases = await work(everfold.log, finish=False)
        first = [one for one in leases if one.job_id in jobs][:3]
        for lease in first:
            await Producer(everfold.log, "r").finish(lease, Succeeded(attempt=1, outputs={}))
        await eventually(lambda: caught_up(everfold.log))
        seen = await batch.progress()
        assert seen.by_status == {"running": 3, "succeeded": 3}
        assert (seen.ended, seen.percent, seen.is_over) == (3, 50.0, False)
        with pytest.raises(TimeoutError):
            await batch.wait(0.3)
        assert {job.job_id async for job in batch.jobs()} == set(jobs)
        assert len([job async for job in batch.jobs(["running"])]) == 3
        done = await batch.cancel("enough")
        assert done.outcomes == {"canceling": 3}
        for lease in [one for one in leases if one not in first]:
            await Producer(everfold.log, "r").finish(lease, Succeeded(attempt=1, outputs={}))
        assert (await batch.wait(20)).is_over
        assert await everfold.batches() == ["july", "july2"]
        assert await everfold.batches(after="july") == ["july2"]
        assert await everfold.batches(limit=1) == ["july"]


async def test_a_batch_is_counted_without_an_index(everfold: Everfold) -> None:
    async with projecting(everfold.log):
        for _ in range(5):
            await everfold.submit(GRAPH, batch="b")
        await eventually(lambda: caught_up(everfold.log))
    counted: BatchProgress = await everfold.batch("b").progress()
    keys = everfold.log.keys
    for partition in range(keys.partitions):
        await command(everfold.log.redis, "HDEL", keys.projector(partition), "indexes")
    assert await everfold.batch("b").progress() == counted
    assert counted.by_status == {"queued": 5}
