"""What a job sends is missing only where a server that has the lease says so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending import leased_input
from everfold.streams.appending.job_input import JobInput, Sends, load_input
from everfold.streams.appending.leased_input import load_leased_input
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Fenced, JobUnknown
from everfold.streams.events.event import Failure
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
GONE = "workflow_gone"


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def leased(log: Log) -> tuple[Job, Lease]:
    keys = {"api_key_comfy_org": Secret("a-key-of-ada")}
    made = await log.submit(GRAPH, partner_keys=keys)
    [lease] = await Dispatch(log, "r1").claim(0, ("default",), 1)
    assert lease.stored is not None
    return await current(log, made.job_id), replace(lease, stored=None)


async def forget_graph(log: Log, job: Job) -> None:
    await command(log.redis, "DEL", log.keys.workflow(0, job.stored))


async def test_the_holder_of_a_lease_gets_all_of_it(log: Log) -> None:
    found = await load_leased_input(log, *await leased(log))
    assert isinstance(found, JobInput)
    assert found.partner_keys.keys() == {"api_key_comfy_org"}


async def test_what_a_claim_has_brought_is_not_read_again(log: Log) -> None:
    job, lease = await leased(log)
    kept = await log.workflow(job.job_id, job.stored)
    await forget_graph(log, job)
    found = await load_leased_input(log, job, replace(lease, stored=kept))
    assert isinstance(found, JobInput)
    assert (found.stored, set(found.partner_keys)) == (kept, {"api_key_comfy_org"})


@pytest.mark.parametrize("is_short", [True, False])
async def test_a_claim_brings_a_graph_that_is_short(log: Log, *, is_short: bool) -> None:
    inputs = {"text": "x" * (16_000 if is_short else 17_000)}
    made = await log.submit({"1": {"class_type": "Text", "inputs": inputs}})
    [lease] = await Dispatch(log, "r1").claim(0, ("default",), 1)
    job = await current(log, made.job_id)
    assert lease.stored == (await log.workflow(job.job_id, job.stored) if is_short else None)


async def test_a_claim_leases_a_job_whose_graph_it_cannot_read(log: Log) -> None:
    made = await log.submit(GRAPH)
    key = log.keys.workflow(0, (await current(log, made.job_id)).stored)
    await command(log.redis, "DEL", key)
    await command(log.redis, "HSET", key, "a", "b")
    [lease] = await Dispatch(log, "r1").claim(0, ("default",), 1)
    assert (lease.job_id, lease.stored) == (made.job_id, None)


async def test_a_graph_that_the_lease_s_server_lacks_is_gone(log: Log) -> None:
    job, lease = await leased(log)
    await forget_graph(log, job)
    found = await load_leased_input(log, job, lease)
    assert isinstance(found, Failure)
    assert found.code == GONE


async def test_keys_that_the_lease_s_server_lacks_are_expired(log: Log) -> None:
    job, lease = await leased(log)
    made_by = await command(log.redis, "HGET", log.keys.head(job.job_id), "made_by")
    assert isinstance(made_by, bytes)
    await command(log.redis, "DEL", log.keys.partner_keys(job.job_id, made_by.decode()))
    found = await load_leased_input(log, job, lease)
    assert isinstance(found, Failure)
    assert found.code == "partner_keys_expired"


async def test_a_server_that_knows_no_such_job_fails_none(
    log: Log, own_server: StartServer
) -> None:
    job, lease = await leased(log)
    other = own_server(tcp=True)
    async with Log.open(other.url, namespace=log.keys.namespace, partitions=1) as elsewhere:
        with pytest.raises(JobUnknown):
            await load_leased_input(elsewhere, job, lease)


async def test_a_server_that_has_forgotten_the_lease_fails_none(log: Log) -> None:
    job, lease = await leased(log)
    await forget_graph(log, job)
    await command(log.redis, "HSET", log.keys.head(job.job_id), "epoch", lease.epoch - 1)
    with pytest.raises(Fenced):
        await load_leased_input(log, job, lease)


async def test_what_another_server_lacked_is_read_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def at_two_servers(log: Log, job: Sends, kept: bytes | None = None) -> JobInput | Failure:
        nonlocal asked
        asked += 1
        return Failure(code=GONE, message="") if asked == 1 else await load_input(log, job)

    monkeypatch.setattr(leased_input, "load_input", at_two_servers)
    assert isinstance(await load_leased_input(log, *await leased(log)), JobInput)
