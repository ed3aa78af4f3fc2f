"""A gateway that waits for replicas, while they are away and when they come back."""

from __future__ import annotations

import re

import httpx
import pytest

from everfold.streams.appending.log import Log
from tests.support.groups.replicas import replicated
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import sleeper
from tests.support.servers import StartServer

pytestmark = [pytest.mark.anyio, pytest.mark.long]


async def test_without_replicas_a_submit_is_answered_with_503_and_its_repeat_is_the_same_job(
    start_program: StartProgram, own_server: StartServer
) -> None:
    group = await replicated(own_server, 1)
    async with Log.open(group.url):
        pass
    program = start_program(
        *("-m", "everfold", "serve", "--port", "0"),
        environ={"REDIS_URL": group.url, "EVERFOLD_REPLICAS": "1"},
    )
    line = await program.line("gateway", within_s=30)
    await program.line("ready", within_s=30)
    found = re.search(r"http://\S+", line)
    assert found
    async with httpx.AsyncClient(base_url=found[0], timeout=40) as client:
        body, named = {"workflow": sleeper(0.1)}, {"Idempotency-Key": "order-1"}
        group.freeze()
        answer = await client.post("/api/v2/jobs", headers=named, json=body)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert "0 of the 1 replicas" in answer.text
        assert (await client.get("/api/v2/jobs")).status_code == 200
        group.thaw()
        answer = await client.post("/api/v2/jobs", headers=named, json=body)
        assert answer.status_code in (200, 201), answer.text
        jobs = (await client.get("/api/v2/jobs")).json()
    assert len(jobs["data"] if "data" in jobs else jobs["jobs"]) == 1
