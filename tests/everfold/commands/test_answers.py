"""Jobs and other results as plain values, in pydantic's models and in FastAPI's answers."""

from __future__ import annotations

import json
import sys
import typing

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate
from pydantic import BaseModel, ValidationError

import everfold
from everfold import Failure, Job, Page, SubmittedJob, to_json
from everfold.projector.job.job import STATUSES
from everfold.streams.border.plain import Plain
from everfold.streams.redis.keys import PRIORITIES
from everfold.web.openapi.document import openapi_document
from tests.everfold.client.test_startup import loaded_by

pytestmark = pytest.mark.anyio

JOB = Job(
    job_id="j1",
    status="failed",
    tags=("a", "b"),
    metadata={"order": {"number": 7}},
    error=Failure(code="execution_error", message="boom"),
)


class Order(BaseModel):
    job: Job
    made: SubmittedJob | None = None


def test_a_job_is_what_json_dumps_takes() -> None:
    written = json.loads(json.dumps(JOB.to_dict()))

    assert written == msgspec.json.decode(msgspec.json.encode(JOB))
    assert msgspec.convert(written, Job) == JOB


def test_the_names_are_those_of_the_contract_and_of_json_output() -> None:
    job = json.loads(json.dumps(openapi_document()))["components"]["schemas"]["Job"]
    names = list(JOB.to_dict())

    assert names == list(job["properties"])
    assert [name for name in to_json(JOB) if name in names] == names
    assert set(to_json(JOB)) - set(names) == {"promptId", "jobType", "userId"}


def test_pydantic_takes_a_job_and_its_plain_values_and_returns_both() -> None:
    order = Order(job=JOB)

    assert order.job is JOB
    assert Order.model_validate_json(order.model_dump_json()) == order
    assert json.loads(order.model_dump_json())["job"] == json.loads(json.dumps(JOB.to_dict()))
    with pytest.raises(ValidationError, match=r"Expected `str`, got `int` - at `\$\.job_id`"):
        Order.model_validate({"job": {"job_id": 7}})


def test_a_status_of_a_newer_version_is_read_as_it_is() -> None:
    newer = Order.model_validate({"job": {"status": "dreaming"}}).job

    assert newer.to_dict()["status"] == "dreaming"
    assert msgspec.json.decode(b'{"status": "dreaming"}', type=Job) == newer


def test_the_words_for_type_checkers_are_those_that_there_are() -> None:
    assert typing.get_args(everfold.Status) == STATUSES
    assert set(typing.get_args(everfold.Priority)) == set(PRIORITIES)
    assert {"", "intended", "accepted", "over"} == set(typing.get_args(everfold.AttemptState))


async def test_fastapi_answers_with_jobs_and_documents_them() -> None:
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def show(job_id: str) -> Job:
        return JOB

    @app.get("/jobs")
    async def page() -> Page:
        return Page([JOB], None, 0.0)

    @app.post("/orders")
    async def order(given: Order) -> SubmittedJob:
        return SubmittedJob(given.job.job_id, created=True)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        assert (await client.get("/jobs/j1")).json() == json.loads(json.dumps(JOB.to_dict()))
        assert (await client.get("/jobs")).json()["jobs"][0]["job_id"] == "j1"
        sent = await client.post("/orders", json={"job": {"job_id": "j9"}})
        assert sent.json()["job_id"] == "j9"
        assert (await client.post("/orders", json={"job": 7})).status_code == 422
        told = (await client.get("/openapi.json")).json()
    validate(told)
    answer = told["paths"]["/jobs/{job_id}"]["get"]["responses"]["200"]["content"]
    assert answer["application/json"]["schema"] == {"$ref": "#/components/schemas/Job"}
    shown = told["components"]["schemas"]["Job"]
    assert shown["properties"]["status"]["type"] == "string"
    assert list(shown["properties"]) == list(JOB.to_dict())


RESULTS = [
    value
    for name in everfold.__all__
    if isinstance(value := getattr(everfold, name), type) and issubclass(value, Plain)
]


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_each_result_has_a_schema_of_its_own(kind: type) -> None:
    app = FastAPI()

    @app.get("/")
    async def show() -> None: ...

    app.add_api_route("/one", show, response_model=kind)
    validate(app.openapi())


def test_nothing_of_it_loads_pydantic() -> None:
    loaded = loaded_by("from everfold import Job; Job().to_dict()")

    assert {"pydantic", "pydantic_core", "fastapi"} & loaded == set()
    assert "msgspec" in sys.modules
