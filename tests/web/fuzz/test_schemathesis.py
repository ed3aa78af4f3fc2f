"""What the OpenAPI document says is what happens: each operation with cases made from it.

In the suite a few cases each; `make fuzz` makes more.
"""

from __future__ import annotations

import json
from typing import Any

import anyio.to_thread
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from everfold.web.openapi.route import openapi_text
from tests.fuzz.cases import EXAMPLES, FEW
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(0)]

CASES = 1 if EXAMPLES <= FEW else max(3, EXAMPLES // 1_000)
"""Of each operation, in each mode."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

REFUSED_BY_SERVER = "Invalid HTTP request received."
"""Of uvicorn itself, to what is no HTTP: a target or a header that none can have."""

HEAD_TOO_LARGE = 431
"""Of the connection, before any contract sees the request."""

ANSWER_WITHIN_S = 15.0


async def test_each_operation_does_as_the_document_says(site: Site, known: list[str]) -> None:
    wrong = await anyio.to_thread.run_sync(every_operation, site.url, known)

    assert not wrong, "\n\n".join(wrong)


def every_operation(url: str, known: list[str]) -> list[str]:
    """Call each operation of the document; return what is wrong."""
    schema = schemathesis.openapi.from_dict(readable(json.loads(openapi_text())))
    wrong = list[str]()
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()  # type: ignore[union-attr]
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    one_operation(session, url, operation, mode, known)
                except FailureGroup as failures:
                    wrong.append(f"{operation.label}: {failures}")
                except Unsatisfiable:
                    continue  # of what has no parameters no wrong case can be made
    return wrong


def readable(document: Any) -> Any:
    """Return the document without `prefixItems`, which schemathesis reads as older drafts do."""
    match document:
        case {"prefixItems": _}:
            return {"type": "array"}
        case dict():
            return {name: readable(one) for name, one in document.items()}
        case list():
            return [readable(one) for one in document]
        case _:
            return document


def one_operation(
    session: requests.Session,
    url: str,
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    known: list[str],
) -> None:
    """Call one operation a few times. Raises FailureGroup for an answer that is not as told."""

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= FEW,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(case=operation.as_strategy(mode), chosen=st.sampled_from(["", *known]))
    def each(case: schemathesis.Case[Any], chosen: str) -> None:
        if chosen and "job_id" in case.path_parameters:
            case.path_parameters["job_id"] = chosen
        sent = case.as_transport_kwargs(url)
        with session.request(
            stream=True, timeout=ANSWER_WITHIN_S, allow_redirects=False, **sent
        ) as answer:
            if "text/event-stream" in answer.headers.get("content-type", ""):
                return
            if answer.text != REFUSED_BY_SERVER and answer.status_code != HEAD_TOO_LARGE:
                case.validate_response(answer, checks=CHECKS)

    each()
