"""The events of a job and of a namespace, as pages and as they happen."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.event import Canceled, Rewound
from everfold.streams.events.record import Recorded
from everfold.web import event_stream
from everfold.web.own.events.logged import frame
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.own.sse import all_of, first_of, messages
from tests.web.site import Site, client_of, serving

pytestmark = pytest.mark.anyio

JOBS = "/everfold/v1/jobs"
ALL = "/everfold/v1/events/stream"


async def canceled_job(everfold: Everfold) -> str:
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(job_id)
    return job_id


async def test_events_come_in_pages(client: httpx.AsyncClient, everfold: Everfold) -> None:
    job_id = await canceled_job(everfold)

    first = (await client.get(f"{JOBS}/{job_id}/events?limit=2")).json()
    last = (await client.get(f"{JOBS}/{job_id}/events?after_seq={first['after_seq']}")).json()

    assert [one["event"]["type"] for one in first["events"]] == [
        "job.submitted",
        "job.cancel_requested",
    ]
    assert [(one["seq"], one["event"]["type"]) for one in last["events"]] == [(3, "job.canceled")]
    assert last["after_seq"] is None


async def test_a_stream_of_a_job_has_what_was_and_what_comes_up_to_its_end(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    job_id = await stack.submit(0.3)
    path = f"{JOBS}/{job_id}/events/stream"
    reading = asyncio.create_task(all_of(client, path))
    await stack.runner(await stack.comfy())

    found = await reading

    seqs = [int(message.id) for message in found]
    assert seqs == list(range(1, len(found) + 1))
    assert (found[0].type, found[-1].type) == ("job.submitted", "job.succeeded")
    assert found == await all_of(client, path)


async def test_a_stream_goes_on_where_its_reader_was(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = await canceled_job(everfold)
    path = f"{JOBS}/{job_id}/events/stream"

    assert [one.id for one in await all_of(client, path, last_id="1")] == ["2", "3"]
    assert [one.id for one in await all_of(client, f"{path}?after_seq=2")] == ["3"]
    assert (await client.get(path, headers={"Last-Event-ID": "3"})).status_code == 204
    wrong = await client.get(path, headers={"Last-Event-ID": "three"})
    assert wrong.status_code == 422


async def test_a_stream_that_is_silent_says_that_it_lives(
    client: httpx.AsyncClient, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.05)
    job_id = (await everfold.submit(sleeper(1))).job_id

    async with client.stream("GET", f"{JOBS}/{job_id}/events/stream") as answer:
        async for line in answer.aiter_lines():
            if line == ": still here":
                break


async def test_one_event_is_made_into_bytes_once_for_all_watchers(
    site: Site, client: httpx.AsyncClient, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(record: Recorded, cursor: str) -> bytes:
        made.append(cursor)
        return frame(record, cursor)

    monkeypatch.setattr("everfold.web.own.events.job_events.frame", counted)
    job_id = (await everfold.submit(sleeper(1))).job_id
    path = f"{JOBS}/{job_id}/events/stream?after_seq=1"
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(all_of(client, path)) for _ in range(5)]
        await eventually(lambda: _open_streams(site) == 5, 10)
        await everfold.cancel(job_id)

    assert [[one.id for one in reader.result()] for reader in readers] == [["2", "3"]] * 5
    assert made == ["2", "3"]


def _open_streams(site: Site) -> float:
    value = site.gateway.counters.registry.get_sample_value(
        "everfold_gateway_streams", {"kind": "sse"}
    )
    return value or 0.0


async def test_a_client_that_goes_away_leaves_nothing(
    site: Site, client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id
    for _ in range(5):
        await first_of(client, f"{JOBS}/{job_id}/events/stream", 1)

    await eventually(lambda: _open_streams(site) == 0, 10)
    assert site.gateway.feeds.watched == 0


async def test_a_head_of_a_stream_ends_at_once(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id

    answer = await client.head(f"{JOBS}/{job_id}/events/stream")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_stream_of_a_namespace_goes_on_at_another_gateway(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    async with messages(client, ALL) as found:
        jobs = [(await everfold.submit(sleeper(1))).job_id for _ in range(6)]
        first = [await anext(found) for _ in range(3)]
    jobs += [(await everfold.submit(sleeper(1))).job_id for _ in range(6)]

    async with serving(everfold, stack) as other, client_of(other) as there:
        rest = await first_of(there, ALL, 9, last_id=first[-1].id)

    told = [str(one.data["job_id"]) for one in (*first, *rest)]
    assert sorted(told) == sorted(jobs)


async def test_the_stream_of_a_namespace_reads_the_log_where_it_was_overtaken(
    site: Site, client: httpx.AsyncClient, everfold: Everfold
) -> None:
    jobs = [(await everfold.submit(sleeper(1))).job_id]
    async with messages(client, ALL) as found:
        jobs = [(await everfold.submit(sleeper(1))).job_id]
        first = await anext(found)
        ring = site.gateway.feeds.records
        ring._items.clear()  # as if more had come than are kept
        ring.end += 10
        jobs += [(await everfold.submit(sleeper(1))).job_id for _ in range(3)]
        rest = [await anext(found) for _ in range(3)]

    assert [one.data["job_id"] for one in (first, *rest)] == jobs


@pytest.mark.parametrize("cursor", ["1", "zz-!", ".".join("0" * 9), "z" * 40, "0" * 30_000])
async def test_a_place_that_no_stream_gave_is_refused(
    client: httpx.AsyncClient, cursor: str
) -> None:
    answer = await client.get(ALL, params={"after": cursor})

    assert answer.status_code in (413, 422)
    assert answer.json()["error"]["message"]


async def test_an_end_that_comes_while_the_history_is_read_is_sent_once(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.log.append(job_id, Canceled(), epoch=UNLEASED)

    found = await all_of(client, f"{JOBS}/{job_id}/events/stream")

    assert [one.type for one in found] == ["job.submitted", "job.canceled"]


async def test_a_reader_ahead_of_what_the_server_has_kept_begins_again(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.log.append(job_id, Rewound(seen_seq=18, found_seq=1), epoch=0)
    await everfold.cancel(job_id)
    path = f"{JOBS}/{job_id}/events/stream"

    assert (await all_of(client, path, last_id="18"))[-1].type == "job.canceled"
    assert [one.id for one in await all_of(client, path, last_id="3")] == ["4"]
    assert (await client.get(path, headers={"Last-Event-ID": "4"})).status_code == 204
