"""A job that starts while somebody looks for it, or of which no list tells yet, is found."""

from __future__ import annotations

import signal
from typing import Any

import httpx
import pytest

from everfold import Everfold
from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.projector.reading.queries import Page
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Failed, Failure, Queued, Started, Submitting
from everfold.streams.leases.dispatch import Dispatch
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import connected
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def submitted(everfold: Everfold) -> Lease:
    """Submit a job of the client ada, and claim it."""
    job = await everfold.submit(sleeper(1), metadata={"client_id": "ada"})
    dispatch = Dispatch(everfold.log, "bench")
    partition = everfold.log.keys.partition_of(job.job_id)
    [lease] = await dispatch.claim(partition, ["default"], 1)
    return lease


async def started(everfold: Everfold, lease: Lease) -> None:
    intent = Submitting(attempt=1, prompt_id="p", client_id="c", backend="http://g:1", boot="b")
    for event in (intent, Queued(attempt=1, prompt_id="p"), Started(attempt=1)):
        await everfold.log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)


def starts_after_look(
    site: Site, lease: Lease, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Let a job start right after so many looks at lists of jobs."""
    look, looks = site.everfold.page, list[Page]()

    async def page(*arguments: Any, **named: Any) -> Page:
        looks.append(await look(*arguments, **named))
        if len(looks) == number:
            await started(site.everfold, lease)
        return looks[-1]

    monkeypatch.setattr(site.everfold, "page", page)


async def test_who_connects_to_a_gateway_that_no_list_tells_of_its_job_is_told_of_it(
    site: Site,
) -> None:
    log = site.everfold.log
    async with Everfold.connect(log.url, namespace=log.keys.namespace) as elsewhere:
        lease = await submitted(elsewhere)
        await eventually(lambda: lease.job_id in site.gateway.hub._jobs._open, 10)
        await connects_and_is_told(site, lease)


async def test_who_connects_after_the_end_finds_it_in_the_history(
    site: Site, client: httpx.AsyncClient
) -> None:
    log = site.everfold.log
    projector = await site.stack.projector()
    lease = await submitted(site.everfold)

    async def is_folded() -> bool:
        return (await read_stored_jobs(log, [lease.job_id])) != [None]

    await eventually(is_folded, 20)
    projector.send(signal.SIGSTOP)
    try:
        error = Failed(failure=Failure(code="node_error", message="no"))
        await log.append(lease.job_id, error, epoch=lease.epoch, holder=lease.runner)
        await eventually(lambda: lease.job_id in site.gateway.hub._jobs._ended, 10)
        async with connected(site.url, "ada") as socket:
            [(_, told)] = socket.messages
            assert told["status"] == {"exec_info": {"queue_remaining": 0}}
        assert list((await client.get(f"/history/{lease.job_id}")).json()) == [lease.job_id]
    finally:
        projector.send(signal.SIGCONT)


async def connects_and_is_told(site: Site, lease: Lease) -> None:
    async with connected(site.url, "ada") as client:
        await eventually(lambda: lease.job_id in site.gateway.hub._followed, 10)
        error = Failed(failure=Failure(code="node_error", message="no"))
        await site.everfold.log.append(lease.job_id, error, epoch=lease.epoch, holder=lease.runner)
        await client.until_over(within_s=10)


@pytest.mark.parametrize("number", [1, 2])
async def test_who_connects_while_its_job_starts_is_told_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lease = await submitted(site.everfold)
    starts_after_look(site, lease, monkeypatch, number)

    await connects_and_is_told(site, lease)


async def test_the_queue_has_a_job_that_starts_while_it_is_read(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await submitted(site.everfold)
    starts_after_look(site, lease, monkeypatch, 1)

    queue = (await client.get("/queue")).json()
    assert [item[1] for group in queue.values() for item in group] == [lease.job_id]
    queue = (await client.get("/queue")).json()
    assert [item[1] for item in queue["queue_running"]] == [lease.job_id]
