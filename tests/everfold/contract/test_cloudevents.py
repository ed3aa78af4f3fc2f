"""CloudEvents that the official SDK reads, from the command line too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import jsonschema
import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Official

from everfold.contract.cloudevents import to_cloudevent
from everfold.contract.json_schema import schema_of
from streams.errors import UndecodableEvent
from streams.events import Started
from streams.log import Log
from streams.reader import job_events
from tests.projector.story import add_raw, make_jobs, work
from tests.support.histories import records_of
from tests.support.programs import Program, StartProgram
from tests.support.servers import OwnServer, StartServer

pytestmark = pytest.mark.anyio

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server()


@pytest.fixture
def everfold(start_program: StartProgram, server: OwnServer) -> Callable[..., Program]:
    def start(*arguments: str) -> Program:
        return start_program("-m", "everfold", *arguments, environ={"REDIS_URL": server.url})

    return start


@pytest.fixture
async def log(server: OwnServer) -> AsyncIterator[Log]:
    async with Log.open(server.url) as log:
        yield log


async def test_the_official_sdk_reads_every_event(
    everfold: Callable[..., Program], log: Log
) -> None:
    (job_id,) = await make_jobs(log, 1)
    await work(log)
    program = everfold("events", job_id, "--format", "cloudevents")
    assert await program.end(within_s=30) == 0, program
    records = await job_events(log, job_id)
    assert len(program.lines) == len(records) == 10
    for line, record in zip(program.lines, records, strict=True):
        event = JSONFormat().read(Official, line)
        assert event.get_specversion() == "1.0"
        assert event.get_source() == "/everfold/everfold"
        assert event.get_subject() == job_id
        assert event.get_time() == datetime.fromtimestamp(record.time_ms / 1000, UTC)
        assert event.get_extension("sequence") == str(record.seq).zfill(20)
        assert event.get_extension("entryid") == record.entry_id
        assert event.get_data() == json.loads(record.payload)
        jsonschema.validate(event.get_data(), schema_of(event.get_type()))
        assert event.get_id() == json.loads(record.payload)["id"]


async def test_what_is_no_event_is_named_and_the_others_are_printed(
    everfold: Callable[..., Program], log: Log
) -> None:
    (job_id,) = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, b'{"type":"job.teleported","id":"x","actor":"y","v":1}')
    await work(log)
    program = everfold("events", "--format", "cloudevents")
    assert await program.end(within_s=30) == 1
    assert len(program.lines) == 10
    assert len(program.complaints) == 1
    assert f"event 2 of job {job_id}" in program.complaints[0]


async def test_formats_that_contradict_each_other_are_refused(
    everfold: Callable[..., Program], log: Log
) -> None:
    program = everfold("events", "--json", "--format", "cloudevents")
    assert await program.end(within_s=30) == 2
    assert "contradict each other" in program.complaints[0]
    await make_jobs(log, 1)
    same = everfold("events", "--format", "json")
    assert await same.end(within_s=30) == 0
    assert json.loads(same.lines[0])["seq"] == 1


def test_a_trace_goes_along_by_its_extension() -> None:
    (record,) = records_of([Started(attempt=1, trace=TRACE, id="x")])
    told = json.loads(msgspec.json.encode(to_cloudevent(record, "shop")))
    assert (told["traceparent"], told["source"]) == (TRACE, "/everfold/shop")
    (plain,) = records_of([Started(attempt=1, id="x")])
    assert "traceparent" not in json.loads(msgspec.json.encode(to_cloudevent(plain, "shop")))


async def test_an_unreadable_event_has_no_cloudevent(log: Log) -> None:
    (job_id,) = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, b"{}")
    with pytest.raises(UndecodableEvent):
        to_cloudevent((await job_events(log, job_id))[1], "shop")


@pytest.mark.parametrize("document", ["json", "asyncapi"])
async def test_schema_prints_a_document(everfold: Callable[..., Program], document: str) -> None:
    program = everfold("schema", document)
    assert await program.end(within_s=30) == 0
    assert "job.succeeded" in json.dumps(json.loads("\n".join(program.lines)))
