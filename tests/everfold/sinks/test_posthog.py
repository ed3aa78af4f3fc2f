"""Analytics: the documented wire format, each event counted once, and no job ever touched by it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from uuid import UUID

import anyio
import pytest
from aiohttp import web
from anyio.abc import SocketAttribute, SocketStream

from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.subscribing.admin import reset
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs, subscription_status
from everfold.projector.subscribing.subscription import TargetAway
from everfold.runner.decisions.attempts import attempt_of
from everfold.sinks import posthog
from everfold.sinks.posthog import PostHogSink
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from everfold.streams.events.event import Recovered
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from tests.everfold.sinks.databases import deliveries
from tests.everfold.sinks.receiver import Receiver
from tests.projector.jobs import GRAPH, make_jobs, work
from tests.projector.subscribing.listening import consuming, taken
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

KEY = "phc_test"
SECRET_WORD = "a lighthouse at night"


@pytest.fixture
async def sink(log: Log, receiver: Receiver) -> AsyncIterator[PostHogSink]:
    receiver.answer = lambda _: web.json_response({"status": "Ok"})
    async with aclosing(PostHogSink(log, KEY, host=receiver.url, start="beginning")) as sink:
        yield sink


def captured(receiver: Receiver) -> list[dict[str, object]]:
    """Return the analytics events that came, after checking the wire format of each request."""
    found = list[dict[str, object]]()
    for message in receiver.messages:
        assert message.path == "/batch/"
        assert message.headers["content-type"] == "application/json"
        body = json.loads(message.body)
        assert set(body) == {"api_key", "historical_migration", "batch"}
        assert body["api_key"] == KEY
        for one in body["batch"]:
            assert set(one) == {"event", "distinct_id", "timestamp", "uuid", "properties"}
            assert str(UUID(one["uuid"])) == one["uuid"]
            assert one["distinct_id"]
            found.append(one)
    return found


async def recover(log: Log, job_id: str) -> Recovered:
    """Have another runner take the job over, and return the event that says so."""
    partition = log.keys.partition_of(job_id)
    await Dispatch(log, "survivor").take_over(partition, ("default", "normal"), idle_limit_s=0)
    events = [record.event for record in await job_events(log, job_id)]
    return next(event for event in events if isinstance(event, Recovered))


async def test_a_submit_and_a_recovery_are_captured_as_documented(
    log: Log, receiver: Receiver, sink: PostHogSink
) -> None:
    graph = {"1": {"class_type": "Text", "inputs": {"text": SECRET_WORD}}}
    made = await log.submit(graph, kind="portrait", user="ada", metadata={"prompt": SECRET_WORD})
    await work(log, finish=False)
    recovered = await recover(log, made.job_id)
    async with consuming(log, sink):
        await taken(log, "posthog")
    saved, again = captured(receiver)
    prompt_id = attempt_of(made.job_id, 1, log.generation).prompt_id
    assert saved["event"] == "comfyui_job_state_saved"
    assert saved["distinct_id"] == "ada"
    assert saved["properties"] == {
        "promptId": prompt_id,
        "jobType": "portrait",
        "userId": "ada",
    }
    events = await job_events(log, made.job_id)
    at_ms = next(e.time_ms for e in events if isinstance(e.event, Recovered))
    assert again["event"] == "comfyui_job_recovered"
    assert again["properties"] == {
        "promptId": prompt_id,
        "jobAge": (at_ms - events[0].time_ms) / 1000,
        "recoveryTime": recovered.idle_ms,
    }
    assert SECRET_WORD.encode() not in b"".join(message.body for message in receiver.messages)


async def test_what_is_delivered_again_has_the_same_uuid_and_time(
    log: Log, receiver: Receiver, sink: PostHogSink
) -> None:
    await make_jobs(log, 5)
    await work(log)
    async with consuming(log, sink):
        await taken(log, "posthog")
        first = captured(receiver)
        await reset(log, "posthog", "beginning")
        await eventually(lambda: len(captured(receiver)) >= 10, 15)
    assert len({one["uuid"] for one in captured(receiver)}) == len(first) == 5
    assert len({json.dumps(one, sort_keys=True) for one in captured(receiver)}) == 5


async def test_a_job_without_a_user_makes_no_person(
    log: Log, receiver: Receiver, sink: PostHogSink
) -> None:
    made = await log.submit(GRAPH)
    (record,) = await job_events(log, made.job_id)
    tracker = JobTracker(log, log.keys.partition_of(made.job_id))
    await sink.deliver([Delivery(record, await tracker.after(record))])
    (one,) = captured(receiver)
    properties = one["properties"]
    assert isinstance(properties, dict)
    assert properties["$process_person_profile"] is False


async def test_an_endpoint_that_is_away_touches_no_job_and_is_told_later(
    log: Log, receiver: Receiver, sink: PostHogSink
) -> None:
    receiver.answer = lambda _: web.Response(status=502)
    jobs = await make_jobs(log, 3)
    await work(log)
    async with consuming(log, sink):
        await eventually(lambda: len(receiver.messages) > 3, 15)
        assert not await held_jobs(log, "posthog")
        receiver.answer = lambda _: web.json_response({"status": "Ok"})
        await taken(log, "posthog", within_s=30)
    assert len({one["uuid"] for one in captured(receiver)}) == len(jobs)
    assert sum(row.failed for row in await subscription_status(log, "posthog")) == 0


async def test_nobody_listening_is_an_endpoint_that_is_away(log: Log) -> None:
    made = await log.submit(GRAPH)
    (record,) = await job_events(log, made.job_id)
    tracker = JobTracker(log, log.keys.partition_of(made.job_id))
    async with aclosing(PostHogSink(log, KEY, host="http://127.0.0.1:1")) as sink:
        with pytest.raises(TargetAway, match="ConnectError"):
            await sink.deliver([Delivery(record, await tracker.after(record))])


async def test_an_answer_without_end_is_an_endpoint_that_is_away(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posthog, "LONGEST_S", 1.0)
    (job_id,) = await make_jobs(log, 1)
    given = [(await deliveries(log, job_id))[0]]

    async def drip(stream: SocketStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError):
            async with stream:
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                while True:
                    await stream.send(b"x")
                    await anyio.sleep(0.05)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as server:
        host = f"http://127.0.0.1:{server.extra(SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, drip)
            async with aclosing(PostHogSink(log, KEY, host=host)) as sink:
                with anyio.fail_after(10), pytest.raises(TargetAway, match="within 1 s"):
                    await sink.deliver(given)
            tasks.cancel_scope.cancel()


async def test_without_a_key_there_is_no_analytics(log: Log) -> None:
    with pytest.raises(Misconfigured, match="needs the project's key"):
        PostHogSink(log, "")
