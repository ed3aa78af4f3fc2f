"""`everfold submit` takes the caller's trace, and shows whose a job is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.everfold.running import Everfold, objects

pytestmark = pytest.mark.anyio

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00f067aa0ba902b7-01"


@pytest.fixture
def graph(tmp_path: Path) -> str:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"1": {"class_type": "A", "inputs": {}}}))
    return str(path)


@pytest.mark.parametrize(
    ("given", "environ", "found"),
    [
        ((), {}, ""),
        ((), {"TRACEPARENT": TRACEPARENT}, TRACEPARENT),
        (("--traceparent", OTHER), {"TRACEPARENT": TRACEPARENT}, OTHER),
        ((), {"TRACEPARENT": "nonsense"}, ""),
    ],
)
async def test_a_job_has_the_trace_of_its_caller(
    everfold: Everfold, graph: str, given: tuple[str, ...], environ: dict[str, str], found: str
) -> None:
    (made,) = await objects(everfold("submit", graph, "--json", *given, **environ))
    (job,) = await objects(everfold("jobs", "show", str(made["job_id"]), "--json"))
    assert job.get("trace", "") == found
