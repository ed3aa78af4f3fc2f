"""Erasing a user goes on past a key that another program wrote to, and says what it left."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.client import Everfold
from everfold.commands.operate.erase import erase
from everfold.commands.session import Session
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import assert_projected, projecting, work

pytestmark = pytest.mark.anyio


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=2) as everfold:
        yield everfold


async def ended_jobs(everfold: Everfold) -> list[str]:
    """Return jobs of one user that have ended, each with a graph of its own."""
    jobs = list[str]()
    for number in range(4):
        graph = {"1": {"class_type": "A", "inputs": {"seed": number}}}
        jobs.append((await everfold.submit(graph, user="ada", validate=False)).job_id)
    await work(everfold.log)
    async with projecting(everfold.log):
        await assert_projected(everfold.log, jobs)
    return jobs


async def put_text(everfold: Everfold, key: str) -> None:
    await command(everfold.log.redis, "DEL", key)
    await command(everfold.log.redis, "SET", key, "of another program")


async def test_the_state_of_one_job(everfold: Everfold) -> None:
    jobs = await ended_jobs(everfold)
    odd = everfold.log.keys.job(jobs[1])
    await put_text(everfold, odd)

    erased = await everfold.erase("ada")
    assert (erased.states, erased.graphs) == (3, 4)
    assert list(erased.refused) == [jobs[1]]
    assert odd in erased.refused[jobs[1]]
    again = await everfold.erase("ada")
    assert (again.states, list(again.refused)) == (0, [jobs[1]])


async def test_what_is_said_of_graphs(everfold: Everfold) -> None:
    jobs = await ended_jobs(everfold)
    partition = everfold.log.keys.partition_of(jobs[0])
    there = [job for job in jobs if everfold.log.keys.partition_of(job) == partition]
    sent = {(await everfold.get(job)).stored for job in there}
    odd = everfold.log.keys.workflows(partition)
    await put_text(everfold, odd)

    erased = await everfold.erase("ada")
    assert (erased.states, erased.graphs) == (4, 4 - len(sent))
    assert set(erased.refused) == sent
    assert all(odd in why for why in erased.refused.values())


async def test_the_command_names_it_and_ends_with_1(
    everfold: Everfold, redis_url: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = await ended_jobs(everfold)
    await put_text(everfold, everfold.log.keys.job(jobs[1]))

    code = await erase(
        user="ada", yes=True, session=Session(namespace=namespace, redis_url=redis_url)
    )
    assert code == 1
    assert everfold.log.keys.job(jobs[1]) in "".join(capsys.readouterr())
