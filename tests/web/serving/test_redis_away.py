"""Redis goes away under a gateway, and comes back."""

from __future__ import annotations

import asyncio
import re
import time

import httpx
import pytest
from redis import Redis

from everfold.streams.appending.log import Log
from everfold.web import add_key
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer, StartServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

FIRST_S = 25.0
"""Of a busy machine. A server that hangs is waited for by the first requests only."""


def connections(server: OwnServer) -> int:
    redis = Redis.from_url(server.url, protocol=2)
    try:
        found: list[dict[str, str]] = redis.client_list()
    finally:
        redis.close()
    return sum(one["name"].startswith("everfold:gateway") for one in found)


async def watched_to_its_end(client: httpx.AsyncClient, job_id: str) -> None:
    """Cancel a job that is watched, and be told so."""
    async with asyncio.timeout(20), client.stream("GET", f"/api/v2/jobs/{job_id}/events") as told:
        lines = told.aiter_lines()
        async for line in lines:
            if "queued" in line:
                await client.post(f"/api/v2/jobs/{job_id}/cancel")
            if "cancelled" in line or "canceled" in line:
                return
        pytest.fail("the stream ended before its job did")


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_requests_are_told_to_come_again_and_nothing_is_half_done(
    how: str, start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True, save="", appendonly="yes")
    async with Log.open(server.url) as log:
        _, key = await add_key(log, "one", role="operator")
    program = start_program(
        "-m", "everfold", "serve", "--port", "0", environ={"REDIS_URL": server.url}
    )
    line = await program.line("gateway", within_s=20)
    await program.line("ready", within_s=20)
    found = re.search(r"http://\S+", line)
    assert found
    shown = {"Authorization": f"Bearer {key.reveal()}"}
    async with httpx.AsyncClient(base_url=found[0], headers=shown, timeout=30) as client:
        body = {"workflow": sleeper(0.1)}

        async def submit(number: int) -> httpx.Response:
            named = {"Idempotency-Key": f"order-{number}"}
            return await client.post("/api/v2/jobs", headers=named, json=body)

        async def refused_at_once() -> bool:
            answer = await submit(1)
            assert answer.status_code == 503
            return answer.elapsed.total_seconds() < 1

        assert (await submit(0)).status_code == 201
        before = connections(server)
        server.kill() if how == "killed" else server.pause()
        wrong = {"Authorization": "Bearer ef_0123456789_" + "0" * 64}
        for within_s in (FIRST_S, FIRST_S):
            began_s = time.monotonic()
            answers = await asyncio.gather(
                *(submit(number) for number in range(1, 21)),
                *(client.get("/api/v2/jobs") for _ in range(10)),
                *(client.get("/api/v2/jobs", headers=wrong) for _ in range(5)),
            )
            assert {answer.status_code for answer in answers} == {503}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
            told = " ".join(answer.text for answer in answers)
            assert server.url.rpartition(":")[2] not in told, "clients do not learn where Redis is"
            assert time.monotonic() - began_s < within_s
            await eventually(refused_at_once, 20)
        assert (await client.get("/livez")).status_code == 200
        server.start() if how == "killed" else server.resume()

        async def is_back() -> bool:
            return (await client.get("/api/v2/jobs")).status_code == 200

        await eventually(is_back, 20)
        # One that was frozen for a moment may not have been missed by the one that waits for it.
        if how == "killed":
            await eventually(lambda: any("tail_goes_on" in one for one in program.error_lines), 20)
        await watched_to_its_end(client, (await submit(0)).json()["id"])
        for number in range(1, 21):
            assert (await submit(number)).status_code == 201
        jobs = (await client.get("/api/v2/jobs", params={"limit": "100"})).json()["jobs"]
        assert len({job["id"] for job in jobs}) == 21
        assert connections(server) <= max(before + 4, 12)
