"""`kill -9` of a gateway while clients submit: nothing runs that is not listed, nothing twice."""

from __future__ import annotations

import re
from collections import Counter

import anyio
import httpx
import pytest

from tests.support.programs.programs import Program
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]

CLIENTS, EACH = 8, 3


class Gateways:
    """Two gateways of one namespace, of which the first is killed and comes again."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.programs = list[Program]()
        self.urls = list[str]()

    async def start(self) -> None:
        program = self._stack.start(
            "-m", "everfold", "serve", "--port", "0", environ=self._stack.names
        )
        line = await program.line("gateway", within_s=20)
        await program.line("ready", within_s=20)
        found = re.search(r"http://\S+", line)
        assert found
        self.programs.append(program)
        self.urls.append(found[0])

    async def kill_first(self) -> None:
        self.programs.pop(0).kill()
        self.urls.pop(0)


async def submit(gateways: Gateways, key: str, color: int, place: int) -> str:
    """Submit until a gateway has acknowledged it, with the same key at whichever answers."""
    async with httpx.AsyncClient(timeout=20) as client:
        while True:
            try:
                answer = await client.post(
                    f"{gateways.urls[place % len(gateways.urls)]}/api/v2/jobs",
                    headers={"Idempotency-Key": key},
                    json={"workflow": sleeper(0.05, color)},
                )
            except httpx.TransportError:
                place += 1
                await anyio.sleep(0.02)
                continue
            assert answer.status_code in (201, 429, 503), answer.text
            if answer.status_code == 201:
                return str(answer.json()["id"])
            await anyio.sleep(0.1)


async def test_what_a_killed_gateway_took_is_listed_once_and_runs_once(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.projector()
    await stack.runner(comfy)
    gateways, made = Gateways(stack), dict[str, str]()
    await gateways.start()
    await gateways.start()

    async def one_client(number: int) -> None:
        for turn in range(EACH):
            key = f"order-{number}-{turn}"
            made[key] = await submit(gateways, key, 1000 * number + turn, number)

    async with anyio.create_task_group() as clients:
        for number in range(CLIENTS):
            clients.start_soon(one_client, number)
        await eventually(lambda: len(made) >= CLIENTS // 2, 60)
        await gateways.kill_first()
        await gateways.start()
        await eventually(lambda: len(made) >= CLIENTS * EACH // 2, 60)
        await gateways.kill_first()
        await gateways.start()
    assert len(made) == len(set(made.values())) == CLIENTS * EACH
    for key, job_id in made.items():
        number, turn = map(int, key.split("-")[1:])
        again = await submit(gateways, key, 1000 * number + turn, number)
        assert again == job_id
    for job_id in made.values():
        assert (await stack.ended(job_id)).status == "succeeded"
    assert await listed(gateways.urls[0]) == set(made.values())
    ran = Counter(await comfy.executions())
    assert len(ran) == CLIENTS * EACH
    assert set(ran.values()) == {1}


async def listed(url: str) -> set[str]:
    found, cursor = set[str](), ""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        while True:
            query = {"limit": "20", **({"cursor": cursor} if cursor else {})}
            page = (await client.get("/api/v2/jobs", params=query)).json()
            found |= {one["id"] for one in page["jobs"]}
            if not (cursor := page.get("next_cursor") or ""):
                return found
