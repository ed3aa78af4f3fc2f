"""The websocket before a real gateway, runner and simulator."""

from __future__ import annotations

import pytest

from everfold import Everfold
from everfold.streams.events.event import Policy
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import SocketClient, connected, heard
from tests.web.site import Site, serving

pytestmark = pytest.mark.anyio


async def submitted(site: Site, client_id: str, seconds: float = 0.5) -> str:
    job = await site.everfold.submit(sleeper(seconds), metadata={"client_id": client_id})
    return job.job_id


async def test_a_whole_run_is_told_in_comfyui_s_order(site: Site) -> None:
    runner = await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as client:
        await heard(runner)
        job_id = await submitted(site, "ada")
        await client.until_over()

    assert client.messages[0] == (
        "status",
        {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "ada"},
    )
    assert client.kinds == [
        "execution_start",
        "execution_cached",
        "executing 1",
        "executing 2",
        "executing 3",
        "executed",
        "execution_success",
        "executing None",
    ]
    remaining = [data["status"]["exec_info"]["queue_remaining"] for data in client.of("status")]
    assert remaining == [0, 1, 1, 0]
    kinds = [kind for kind, _ in client.messages]
    assert kinds[2:5] == ["status", "execution_start", "execution_cached"]
    assert kinds[-3:] == ["execution_success", "status", "executing"]
    (executed,) = client.of("executed")
    assert executed["output"]["images"][0]["subfolder"] == job_id
    values = [data["value"] for data in client.of("progress")]
    assert len(values) >= 3
    assert values == sorted(values)
    states = client.of("progress_state")[-1]["nodes"]
    assert {node["state"] for node in states.values()} == {"finished"}
    assert all(data["prompt_id"] == job_id for kind, data in client.messages if kind != "status")


ORDER = [
    *("execution_start", "execution_cached", "executing 1", "executing 2", "executing 3"),
    *("executed", "execution_success", "executing None"),
]


async def progressed(client: SocketClient, least: int) -> None:
    """Wait until so many steps were told."""
    await eventually(lambda: len(client.of("progress")) >= least, 30)


async def test_a_killed_runner_is_not_seen(site: Site) -> None:
    comfy = await site.stack.comfy()
    first = await site.stack.runner(comfy)
    async with connected(site.url, "ada") as client:
        await heard(first)
        job_id = await submitted(site, "ada", 6)
        await progressed(client, 5)
        second = await site.stack.runner(comfy)
        owner, _ = await site.stack.owner_among(job_id, first, second)
        owner.kill()
        before = len(client.of("progress"))
        await client.until_over(within_s=60)

    assert client.kinds == ORDER
    steps = [data["value"] for data in client.of("progress")]
    assert steps == sorted(set(steps))
    assert len(steps) > before
    assert "recovered" in await site.stack.event_types(job_id)
    assert await comfy.executions() == [(await site.stack.job(job_id)).prompt_id]


async def test_a_backend_that_starts_anew_is_one_run_to_the_client(site: Site) -> None:
    comfy = await site.stack.comfy()
    runner = await site.stack.runner(comfy)
    async with connected(site.url, "ada") as client:
        await heard(runner)
        policy = Policy(retries=3, retry_backoff_s=0.1)
        graph = sleeper(3.0)
        job = await site.everfold.submit(graph, metadata={"client_id": "ada"}, policy=policy)
        await progressed(client, 5)
        comfy.kill()
        await comfy.up()
        await client.until_over(within_s=60)

    assert client.kinds == ORDER
    steps = [data["value"] for data in client.of("progress")]
    assert steps == sorted(set(steps))
    assert (await site.stack.job(job.job_id)).attempt > 1


async def test_one_who_connects_anew_elsewhere_goes_on_where_the_run_is(
    site: Site, everfold: Everfold
) -> None:
    runner = await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as client:
        await heard(runner)
        job_id = await submitted(site, "ada", 4)
        await progressed(client, 5)
    async with serving(everfold, site.stack) as second, connected(second.url, "ada") as client:
        await client.until_over()

    assert client.messages[0][0] == "status"
    assert client.messages[0][1]["status"]["exec_info"]["queue_remaining"] == 1
    assert client.kinds == ["executing 2", *ORDER[4:]]
    assert client.of("executing")[0]["prompt_id"] == job_id
    told = [data["value"] for data in client.of("progress")]
    assert min(told) > 4
    assert client.of("progress_state")[-1]["nodes"].keys() == {"1", "2", "3"}


async def test_one_who_connects_anew_here_goes_on_too(site: Site) -> None:
    runner = await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as first:
        await heard(runner)
        await submitted(site, "ada", 3)
        await progressed(first, 5)
        async with connected(site.url, "ada") as second:
            await second.until_over()
            await first.until_over()
            assert second.kinds == ["executing 2", *ORDER[4:]]
            assert first.kinds == ORDER


async def test_without_a_living_channel_the_log_tells_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(*_: object, **__: object) -> None: ...

    monkeypatch.setattr("everfold.web.feeds.feeds.listen", unheard)
    await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as client:
        await submitted(site, "ada", 1)
        await client.until_over()

    told = [kind for kind in client.kinds if kind != "executing 1"]
    assert told == [kind for kind in ORDER if kind != "executing 1"]
    assert client.of("progress")


async def test_while_nobody_looks_on_runners_pass_nothing_on(site: Site) -> None:
    await site.stack.runner(await site.stack.comfy())
    log = site.everfold.log
    job_id = (await site.everfold.submit(sleeper(0.5))).job_id
    await site.stack.until(job_id, "succeeded")
    assert await command(log.redis, "EXISTS", log.keys.listening()) == 0
    assert await command(log.redis, "EXISTS", log.keys.live(log.keys.partition_of(job_id))) == 0
