"""A ComfyUI that hangs: what is submitted meanwhile starts at the other one within seconds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from everfold.streams.leases.backends import backend_entries
from tests.support.programs.stack import PRODUCT_LEASES, Comfy, Stack
from tests.support.trouble.http_fault_proxy import HttpFaultProxy
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

JOBS = 4
WITHIN_S = 14.0
"""Of the start of the last of JOBS, on a busy machine too. A call to a server that hangs takes
15 s to fail, and calls that share one take twice as long."""


@asynccontextmanager
async def behind_proxy(comfy: Comfy) -> AsyncIterator[HttpFaultProxy]:
    host, _, port = comfy.url.removeprefix("http://").partition(":")
    async with HttpFaultProxy(host, int(port)) as proxy:
        yield proxy


async def warm(stack: Stack, first: str, other: str) -> None:
    """Run jobs at both, so that how long a job takes is known of each."""
    used = set[str]()

    async def both() -> bool:
        jobs = [await stack.submit(0.1) for _ in range(4)]
        used.update([(await stack.until(job, "succeeded")).backend for job in jobs])
        return used == {first, other}

    await eventually(both, 60)


async def all_ran(stack: Stack, jobs: list[str], at: str) -> float:
    """Wait until all of these have run at one server; return how long it took."""
    began_s = time.monotonic()
    for job in jobs:
        assert (await stack.until(job, "succeeded", within_s=100)).backend == at
    return time.monotonic() - began_s


async def until_avoided(stack: Stack, url: str) -> float:
    """Wait until no job goes to this server; return how long it took."""
    began_s = time.monotonic()

    async def is_avoided() -> bool:
        return any(one.name == url and one.why for one in await backend_entries(stack.log))

    await eventually(is_avoided, 60)
    return time.monotonic() - began_s


async def test_jobs_start_elsewhere_while_a_comfyui_is_frozen(stack: Stack) -> None:
    frozen, other = await stack.comfy(), await stack.comfy()
    await stack.runner(frozen, other, leases=PRODUCT_LEASES)
    await warm(stack, frozen.url, other.url)
    frozen.freeze()
    jobs = [await stack.submit(0.1) for _ in range(JOBS)]

    assert await all_ran(stack, jobs, other.url) < WITHIN_S
    frozen.thaw()
    await warm(stack, frozen.url, other.url)  # it gets jobs again


async def test_jobs_start_elsewhere_while_a_comfyui_does_not_say_which_boot_it_is(
    stack: Stack,
) -> None:
    comfy, other = await stack.comfy(), await stack.comfy()
    async with behind_proxy(comfy) as proxy:
        strange = f"http://127.0.0.1:{proxy.port}"
        await stack.runner(backends=[strange, other.url], leases=PRODUCT_LEASES)
        await warm(stack, strange, other.url)
        proxy.hanging = b"GET /view"
        jobs = [await stack.submit(0.1) for _ in range(JOBS)]

        assert await all_ran(stack, jobs, other.url) < WITHIN_S


@pytest.mark.parametrize("route", ["GET /queue", "POST /prompt", " /"])
async def test_nothing_more_is_sent_to_a_comfyui_that_does_not_answer(
    stack: Stack, route: str
) -> None:
    comfy, other = await stack.comfy(), await stack.comfy()
    async with behind_proxy(comfy) as proxy:
        strange = f"http://127.0.0.1:{proxy.port}"
        await stack.runner(backends=[strange, other.url], leases=PRODUCT_LEASES)
        await warm(stack, strange, other.url)
        proxy.hanging = route.encode()
        # What was sent there before anybody could know stays there until that is certain.
        for _ in range(2 * JOBS):
            await stack.submit(0.1)
        assert await until_avoided(stack, strange) < WITHIN_S
        jobs = [await stack.submit(0.1) for _ in range(JOBS)]

        assert await all_ran(stack, jobs, other.url) < WITHIN_S
