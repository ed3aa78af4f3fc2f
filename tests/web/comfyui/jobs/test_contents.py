"""What jobs were submitted with is read within bounds, however large it is."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.event import Canceled, CancelRequested, Failed, Failure
from everfold.web.comfyui.jobs import contents, history
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.comfyui.jobs.test_prompts import queued

pytestmark = pytest.mark.anyio


def graph_of(text: str) -> dict[str, object]:
    return {"1": {"class_type": "Sleep", "inputs": {"seconds": 1, "text": text}}}


async def test_very_large_graphs_of_older_jobs_are_left_out_of_the_history(
    client: httpx.AsyncClient, stack: Stack, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 30_000)
    monkeypatch.setattr(contents, "CACHE_BYTES", 1_000)
    await stack.projector()
    jobs = [await queued(client, graph_of(str(one) * 10_000)) for one in range(5)]
    for job_id in jobs:
        failed = Failed(failure=Failure(code="node_error", message="no"))
        await everfold.log.append(job_id, failed, epoch=UNLEASED)
        await stack.until(job_id, "failed")

    async def all_of_them() -> dict[str, dict[str, list[object]]] | None:
        found = (await client.get("/history")).json()
        return found if list(found) == jobs else None

    found = await eventually(all_of_them, 20)
    assert found is not None
    assert [bool(entry["prompt"][2]) for entry in found.values()] == [False] * 3 + [True] * 2


async def test_the_history_ends_where_nothing_but_canceled_jobs_comes(
    client: httpx.AsyncClient, stack: Stack, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGES_LIMIT", 2)
    monkeypatch.setattr(history, "PAGE_JOBS", 2)
    await stack.projector()
    jobs = [await queued(client, graph_of(str(one))) for one in range(8)]
    failed = Failed(failure=Failure(code="node_error", message="no"))
    await everfold.log.append(jobs[0], failed, epoch=UNLEASED)
    await stack.until(jobs[0], "failed")
    assert list((await client.get("/history?max_items=2")).json()) == jobs[:1]
    for job_id in jobs[1:]:
        await everfold.log.append(job_id, CancelRequested(), epoch=0)
        await everfold.log.append(job_id, Canceled(), epoch=UNLEASED)
        await stack.until(job_id, "canceled")

    assert (await client.get("/history?max_items=2")).json() == {}
