"""`everfold schema` and `everfold events --format` as people and programs meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft7Validator, Draft202012Validator

from everfold.contract.json_schema import EVENT_TYPES
from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested
from everfold.streams.redis.redis_errors import command
from tests.everfold.contract.schemas import Json, asyncapi, resolved
from tests.everfold.running import Everfold, ended
from tests.projector.jobs import add_raw, make_jobs, work
from tests.support.programs.programs import StartProgram

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[3] / "docs" / "contract"
STRANGE = b'{"type":"job.teleported","id":"x","actor":"y","v":1}'


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("json", "events.schema.json"),
        ("asyncapi", "asyncapi.json"),
        ("openapi", "openapi.json"),
    ],
)
async def test_a_document_is_printed_without_a_server(
    start_program: StartProgram, document: str, path: str
) -> None:
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    printed = await ended(start_program("-m", "everfold", "schema", document, environ=nowhere))
    assert printed == (DOCS / path).read_text().splitlines()


async def test_the_schema_of_one_type_is_printed_alone(everfold: Everfold) -> None:
    schema = json.loads("\n".join(await ended(everfold("schema", "json", "job.stopping"))))
    assert schema["title"] == "Stopping"
    assert "$defs" not in schema


SENTENCES = {
    ("schema", "json", "job.suceeded"): (3, "did you mean job.succeeded?"),
    ("schema", "json", "succeeded"): (3, "did you mean job.succeeded?"),
    ("schema", "json", "done"): (3, "there are job.submitted, job.claimed"),
    ("events", "--json", "--format", "cloudevents"): (2, "leave one of them out"),
    ("events", "--json", "--format", "text"): (2, "contradict each other"),
    ("events", "nobody", "--format", "cloudevents"): (3, "there is no job 'nobody'"),
}


@pytest.mark.parametrize("arguments", SENTENCES, ids=" ".join)
async def test_bad_input_gets_one_sentence(
    everfold: Everfold, log: Log, arguments: tuple[str, ...]
) -> None:
    assert log.keys.namespace, "there is one"
    code, words = SENTENCES[arguments]
    program = everfold(*arguments)
    assert await ended(program, code) == []
    [complaint] = program.error_lines
    assert words in complaint


async def test_an_unknown_format_is_refused_with_the_known_ones(everfold: Everfold) -> None:
    program = everfold("events", "--format", "xml")
    await ended(program, 2)
    assert all(form in "".join(program.error_lines) for form in ("text", "json", "cloudevents"))


async def test_format_json_is_the_same_as_json(everfold: Everfold, log: Log) -> None:
    await make_jobs(log, 2)
    plain = await ended(everfold("events", "--json"))
    assert len(plain) == 2
    assert await ended(everfold("events", "--format", "json")) == plain
    assert await ended(everfold("events", "--format", "json", "--json")) == plain
    assert await ended(everfold("events", "--format", "text")) == await ended(everfold("events"))


@pytest.mark.long
async def test_the_log_as_cloudevents_fits_the_schemas_that_they_name(
    everfold: Everfold, log: Log
) -> None:
    jobs = await make_jobs(log, 2)
    await work(log)
    lines = await ended(everfold("events", "--format", "cloudevents"))
    assert len(lines) == 20
    assert all(JSONFormat().read(CloudEvent, line) for line in lines)
    schemas: dict[str, Json] = {}
    for line in lines:
        event = json.loads(line)
        if event["dataschema"] not in schemas:
            printed = json.loads("\n".join(await ended(everfold("schema", "json", event["type"]))))
            schemas[printed["$id"]] = printed
        Draft202012Validator(schemas[event["dataschema"]]).validate(event["data"])
    assert 3 < len(schemas) < len(EVENT_TYPES)
    [*one] = await ended(everfold("events", jobs[0], "--format", "cloudevents"))
    assert [json.loads(line)["sequence"] for line in one] == [f"{n:010}" for n in range(1, 11)]


async def test_an_entry_of_the_log_is_as_the_asyncapi_document_says(
    everfold: Everfold, log: Log
) -> None:
    [job_id] = await make_jobs(log, 1)
    await work(log)
    document = json.loads("\n".join(await ended(everfold("schema", "asyncapi"))))
    channel, partition = document["channels"]["log"], log.keys.partition_of(job_id)
    key = channel["address"].format(hashTag=f"{{everfold:{partition}}}")
    entries = await command(log.redis, "XRANGE", key, "-", "+")
    assert isinstance(entries, list)
    assert len(entries) == 10
    for _, flat in entries:
        words = [word.decode() for word in flat]
        fields = dict(zip(words[::2], words[1::2], strict=True))
        payload = json.loads(fields.pop(channel["x-redis-stream"]["payload"]))
        message = resolved(document, f"#/components/messages/{payload['type']}")
        for part, value in (("headers", fields), ("payload", payload)):
            schema = {"allOf": [message[part]], "components": document["components"]}
            Draft7Validator(schema).validate(value)
        assert job_id == fields["j"]


def test_a_wrong_entry_is_not_as_the_asyncapi_document_says() -> None:
    document = asyncapi()
    entry = Draft7Validator(resolved(document, "#/components/schemas/Entry"))
    fields = {"j": "J", "s": "1", "e": "0", "p": "0-0"}
    assert entry.is_valid({**fields, "of_a_later_version": "x"})
    for wrong in ({"s": "0"}, {"e": "-1"}, {"p": "0"}, {"s": 1}):
        assert not entry.is_valid({**fields, **wrong})


async def test_what_has_no_cloudevent_is_named_and_the_rest_is_printed(
    everfold: Everfold, log: Log
) -> None:
    [job_id] = await make_jobs(log, 1)
    await add_raw(log, job_id, 2, STRANGE)
    await log.append(job_id, CancelRequested(), epoch=0)
    await command(log.redis, "XADD", log.keys.log(0), "*", "hello", "world")
    program = everfold("events", "--format", "cloudevents")
    printed = [json.loads(line) for line in await ended(program, code=1)]
    assert [event["type"] for event in printed] == ["job.submitted", "job.cancel_requested"]
    of_job, foreign = sorted(program.error_lines, key=lambda line: job_id not in line)
    assert of_job.startswith(f"everfold: left out: event 2 of job {job_id}, entry ")
    assert "was not written by Everfold" in foreign
    assert len(await ended(everfold("events"))) == 4


async def test_following_one_job_prints_cloudevents_until_it_ends(
    everfold: Everfold, log: Log
) -> None:
    [job_id] = await make_jobs(log, 1)
    following = everfold("events", job_id, "--follow", "--format", "cloudevents")
    await following.line("job.submitted", within_s=20)
    await work(log)
    events = [json.loads(line) for line in await ended(following)]
    assert [event["sequence"] for event in events] == [f"{n:010}" for n in range(1, 11)]
    assert events[-1]["type"] == "job.succeeded"
