"""`everfold jobs why` on real servers, runners and simulators; what a person reads there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from everfold.client import Everfold as Client
from everfold.simulator import simulate
from everfold.streams.errors import JobUnknown
from everfold.why.reason import Why
from tests.everfold.running import Everfold, ended, objects
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer
from tests.support.trouble.access_proxy import access_proxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

STRANGE = {"1": {"class_type": "JTSleepProgres", "inputs": {}}}


@pytest.fixture
async def client(server: OwnServer) -> AsyncIterator[Client]:
    async with Client.connect(server.url, actor="ada") as client:
        yield client


async def until(client: Client, job_id: str, code: str) -> Why:
    """Return the reason of a job once it has this code."""

    async def reached() -> list[Why]:
        found = await client.why(job_id)
        return [found] if found.code == code else []

    return (await eventually(reached, 15))[0]


async def test_without_runner_and_projector(client: Client, everfold: Everfold) -> None:
    job_id = (await client.submit(sleeper(1), queue="video")).job_id
    assert await ended(everfold("jobs", "why", job_id)) == ["no runner serves queue video"]
    [told] = await objects(everfold("jobs", "why", job_id, "--json"))
    assert told == {
        "job_id": job_id,
        "code": "no_runner",
        "sentence": "no runner serves queue video",
        "details": {"queue": "video"},
    }
    await ended(everfold("jobs", "why", "0" * 32), 3)
    with pytest.raises(JobUnknown):
        await client.why("nothing-of-this-name")
    await client.pause_queue("video", "new disk")
    assert (await client.why(job_id)).sentence == "queue video is paused by ada (new disk)"
    later = (await client.submit(sleeper(1), run_at=timedelta(hours=2))).job_id
    assert (await client.why(later)).code == "not_before"
    await client.cancel(later, "enough")
    assert (await client.why(later)).sentence == "it was canceled: enough"


async def test_what_a_job_does_from_its_place_to_its_end(
    client: Client, everfold: Everfold
) -> None:
    async with simulate() as comfy:
        program = everfold("runner", "--slots", "2", "--comfyui", f"gpu1={comfy.url}")
        await program.line("serves default", within_s=20)
        ids = [(await client.submit(sleeper(8), user="bob")).job_id for _ in range(5)]
        runs = await until(client, ids[0], "running")
        assert runs.sentence.startswith("running on gpu1 for ")
        await until(client, ids[1], "at_server")
        sentence = "it waits in the own queue of gpu1, where 2 prompts run or wait"

        async def is_counted() -> bool:  # by the runner's next heartbeat
            return (await client.why(ids[1])).sentence == sentence

        await eventually(is_counted)
        behind = await client.why(ids[4])
        assert behind.sentence == "all servers are busy: it stands behind 2 others in queue default"
        assert behind.details == {"position": 2, "queue": "default"}
        assert (await client.why(ids[2])).code == "next"
        await client.set_limit("running", "user", "*", 2)
        limited = await client.why(ids[2])
        assert limited.sentence == "at its limit: user bob runs 2 of 2"
        for job_id in ids:
            await client.cancel(job_id)
        assert (await until(client, ids[0], "ended")).sentence.startswith("it was canceled")


async def test_what_no_server_has_is_named_with_what_is_nearest(
    client: Client, everfold: Everfold
) -> None:
    early = (await client.submit(STRANGE)).job_id
    async with simulate() as comfy:
        program = everfold("runner", "--comfyui", f"gpu1={comfy.url}")
        await program.line("takes jobs", within_s=20)
        found = await until(client, early, "nothing_fits")
        assert found.sentence == "no server has node JTSleepProgres (nearest: JTSleepProgress)"


async def test_a_server_that_refuses_the_password_is_named(
    client: Client, everfold: Everfold
) -> None:
    async with access_proxy("http://127.0.0.1:1", wanted="Authorization: Bearer right") as proxy:
        program = everfold("runner", "--comfyui", f"gpu1={proxy.url}")
        await program.line("gpu1", within_s=20)
        job_id = (await client.submit(sleeper(1))).job_id

        async def told() -> bool:
            return "(401)" in (await client.why(job_id)).sentence

        await eventually(told, 10)
        found = await client.why(job_id)
        assert found.code == "no_backend"
        assert found.sentence.startswith("gpu1 takes no jobs: it wants a password")
    [line] = await ended(everfold("jobs", "why", job_id))
    assert line.startswith("gpu1 takes no jobs: ")


async def test_a_dead_runner_serves_nothing(client: Client, everfold: Everfold) -> None:
    async with simulate() as comfy:
        program = everfold("runner", "--name", "r1", "--comfyui", f"gpu1={comfy.url}")
        await program.line("takes jobs", within_s=20)
        program.kill()
        job_id = (await client.submit(sleeper(1))).job_id
        found = await until(client, job_id, "no_runner")
        assert found.sentence.startswith("no runner serves queue default: r1-")
