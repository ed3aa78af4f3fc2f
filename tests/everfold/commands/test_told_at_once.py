"""A server that a runner does not get to is told at once, in its output, log and registry entry."""

from __future__ import annotations

import time

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.backends import backend_entries
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.everfold.running import Everfold
from tests.support.programs.stack import sleeper
from tests.support.trouble.access_proxy import access_proxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

MARK = "Zx9Qv"
AT_ONCE_S = 5.0
"""On a busy machine too: a poll that nobody answers fails after 15 s."""


async def why_of(log: Log, url: str) -> str:
    """Return why the entry of a backend says that it takes no jobs, once it was asked."""

    async def known() -> str:
        entries = await backend_entries(log)
        whys = [one.why for one in entries if one.name == url]
        return next((why for why in whys if why != "not asked yet"), "")

    return await eventually(known, 10)


async def test_a_wrong_password_is_told_where_people_look(everfold: Everfold, log: Log) -> None:
    wanted = "Authorization: Bearer right"
    async with access_proxy("http://127.0.0.1:1", wanted=wanted) as proxy:
        runner = everfold(
            *("runner", "--comfyui", f"gpu1={proxy.url}"),
            EVERFOLD_BACKENDS_GPU1_HEADERS_AUTHORIZATION=f"Bearer {MARK}",
        )
        await runner.line("serves", within_s=20)
        began_s = time.monotonic()
        why = "it refuses the password or header that it gets (401): correct it, in [backends.NAME]"
        await runner.line(f"✗ gpu1 {proxy.url}  {why}", within_s=10)
        assert time.monotonic() - began_s < AT_ONCE_S
        await eventually(lambda: any("backend_down" in line for line in runner.error_lines))
        assert why in await why_of(log, proxy.url)
        assert MARK not in str(runner)
        # Asked less and less often: a server may shut out who knocks too often.
        refused, began_s = proxy.refused, time.monotonic()
        await eventually(lambda: proxy.refused > refused + 1, 20)
        assert time.monotonic() - began_s > 1.0


async def test_a_server_that_does_not_answer_is_told_before_the_limit(
    everfold: Everfold, log: Log
) -> None:
    async def silent(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    async with raw_server(silent) as server:
        runner = everfold("runner", "--comfyui", server.url, "--json")
        await runner.line("queues", within_s=20)
        began_s = time.monotonic()
        await runner.line("it has not answered yet", within_s=10)
        assert time.monotonic() - began_s < AT_ONCE_S
        assert await why_of(log, server.url) == "it has not answered yet"


async def test_a_server_that_comes_is_told_too(everfold: Everfold, log: Log) -> None:
    async with access_proxy("http://127.0.0.1:1", answer=b"") as proxy:
        url = proxy.url
    job_id = (await log.submit(sleeper(0.1))).job_id
    runner = everfold("up", "--comfyui", url)
    await runner.line(f"✗ {url}  nothing listens there: start ComfyUI, or correct", within_s=20)
    port = url.rpartition(":")[2]
    simulator = everfold("simulator", "--port", port)
    await simulator.line("http://", within_s=20)
    await runner.line(f"✓ {url}  takes jobs", within_s=20)
    waiting = everfold("jobs", "wait", job_id)
    assert await waiting.end(within_s=20) == 0


async def test_what_is_no_address_is_refused(everfold: Everfold) -> None:
    runner = everfold("runner", "--comfyui", "foo")
    assert await runner.end(within_s=20) == 2
    [line] = runner.error_lines
    assert line == (
        "everfold: 'foo' is not the URL of a ComfyUI server: it has neither a scheme nor a port; "
        "write it like http://127.0.0.1:8188"
    )
