"""Each way in which the server can fail: runners wait, go on, and every job still ends once."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, StartServer
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually
from tests.survival.backends.stored_outputs import (
    check_stored,
    has_part_of_a_file,
    saver,
    store_of,
    submitted,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server(tcp=True, appendfsync="always")


@pytest.fixture
async def proxy(server: OwnServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def fragile(
    server: OwnServer,
    proxy: FaultProxy,
    start_program: StartProgram,
    tmp_path: Path,
    leases: Leases,
) -> AsyncIterator[Stack]:
    """A stack whose runners reach the server through a proxy, the test itself directly."""
    async with Log.open(server.url, namespace="fragile", partitions=2) as log:
        yield Stack(log, start_program, tmp_path, redis_url=proxy.url, leases=leases)


async def assert_sound(stack: Stack, job_id: str) -> None:
    """The job's events are gapless, its epochs never fall, and it has exactly one end."""
    events = await job_events(stack.log, job_id)
    text = await stack.event_text(job_id)
    assert [record.seq for record in events] == list(range(1, len(events) + 1)), text
    epochs = [record.epoch for record in events]
    assert epochs == sorted(epochs), text
    kinds = await stack.event_types(job_id)
    ends = [kind for kind in kinds if kind in ("succeeded", "failed", "canceled", "expired")]
    assert len(ends) == 1, text
    assert kinds[-1] == ends[0], text
    assert kinds.count("queued") == len(set(kinds) & {"queued"}), text


async def test_a_restarted_server_finds_the_runner_still_at_its_job(
    fragile: Stack, server: OwnServer
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=3)
    await fragile.until(job_id, "running")
    await run_sync(server.restart, signal.SIGKILL)
    job = await fragile.until(job_id, "succeeded")
    assert (job.attempt, await comfy.executions()) == (1, [job.prompt_id])
    await assert_sound(fragile, job_id)


async def test_a_server_that_dies_while_output_files_are_stored_costs_none(
    fragile: Stack, server: OwnServer, tmp_path: Path
) -> None:
    comfy = await fragile.comfy()
    await comfy.fault("delay_view", seconds=1.5)
    await fragile.runner(comfy, assets=str(tmp_path / "assets"))
    job_id = await submitted(fragile, saver(("2", "a"), ("3", "b"), kib=4096))
    await eventually(lambda: has_part_of_a_file(tmp_path / "assets"), 20)
    await run_sync(server.kill)
    await anyio.sleep(2.0)  # the files have come meanwhile
    await run_sync(server.start)
    job = await fragile.until(job_id, "succeeded")
    assert (job.attempt, await comfy.executions()) == (1, [job.prompt_id])
    await check_stored(store_of(fragile, tmp_path / "assets"), job, comfy)
    await assert_sound(fragile, job_id)


@pytest.mark.slow
async def test_a_server_that_is_away_for_longer_than_a_lease_costs_no_crash(
    fragile: Stack, server: OwnServer
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    await fragile.runner(comfy)
    lease_s = fragile.leases.ttl_s
    job_id = await fragile.submit(seconds=2 * lease_s)
    await fragile.until(job_id, "running")
    await run_sync(server.kill)
    await anyio.sleep(1.25 * lease_s)  # the outage itself
    await run_sync(server.start)
    job = await fragile.until(job_id, "succeeded")
    assert (job.recovered, job.attempt) == (0, 1), await fragile.event_text(job_id)
    assert await comfy.executions() == [job.prompt_id]


async def test_cut_connections_are_opened_again(fragile: Stack, proxy: FaultProxy) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=2)
    await fragile.until(job_id, "running")
    for _ in range(3):
        proxy.cut()
        await anyio.sleep(0.2)
    job = await fragile.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]
    await assert_sound(fragile, job_id)


@pytest.mark.parametrize("count", [1, 4])
async def test_lost_replies_are_asked_for_again_and_nothing_is_told_twice(
    fragile: Stack, proxy: FaultProxy, count: int
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    for event in (b"job.submitting", b"job.queued", b"job.started", b"job.succeeded"):
        proxy.swallow_replies(count, containing=event)
    job = await fragile.until(await fragile.submit(seconds=0.5), "succeeded")
    assert (job.attempt, await comfy.executions()) == (1, [job.prompt_id])
    await assert_sound(fragile, job.job_id)


async def test_a_claim_whose_reply_was_lost_is_found_again(
    fragile: Stack, proxy: FaultProxy
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    rule = proxy.swallow_replies(1, containing=b"job.claimed")
    job = await fragile.until(await fragile.submit(seconds=0.3), "succeeded")
    await rule.used_up()
    assert job.recovered == 0, await fragile.event_text(job.job_id)


async def test_flushed_scripts_are_loaded_again(fragile: Stack) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=1)
    await fragile.until(job_id, "running")
    await command(fragile.log.redis, "SCRIPT FLUSH")
    await fragile.until(job_id, "succeeded")
    await assert_sound(fragile, job_id)


async def test_a_lost_runners_group_is_made_again_and_the_job_goes_on(fragile: Stack) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=3)
    await fragile.until(job_id, "running")
    partition = fragile.log.keys.partition_of(job_id)
    dispatch = fragile.log.keys.dispatch(partition, "default", "normal")
    await command(fragile.log.redis, "XGROUP DESTROY", dispatch, "runners")
    job = await fragile.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]
    await assert_sound(fragile, job_id)


async def test_out_of_memory_refusals_are_waited_out(fragile: Stack) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=2)
    await fragile.until(job_id, "running")
    await command(fragile.log.redis, "CONFIG SET", "maxmemory", "1mb")
    await anyio.sleep(3)  # the refusals last longer than the run
    assert (await fragile.job(job_id)).status == "running"
    await command(fragile.log.redis, "CONFIG SET", "maxmemory", "0")
    job = await fragile.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]
    await assert_sound(fragile, job_id)


async def test_a_read_only_server_is_waited_out(fragile: Stack, own_server: StartServer) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=2)
    await fragile.until(job_id, "running")
    await command(fragile.log.redis, "CONFIG SET", "min-replicas-to-write", "1")
    await anyio.sleep(3)  # the refusals last longer than the run
    await command(fragile.log.redis, "CONFIG SET", "min-replicas-to-write", "0")
    job = await fragile.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]
    await assert_sound(fragile, job_id)


async def test_a_slow_server_is_only_slow(fragile: Stack, proxy: FaultProxy) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    proxy.latency_s = 0.1
    job = await fragile.until(await fragile.submit(seconds=0.5), "succeeded")
    assert (job.recovered, await comfy.executions()) == (0, [job.prompt_id])


@pytest.mark.slow
async def test_a_partitioned_runner_is_replaced_and_never_runs_the_job_again(
    fragile: Stack, proxy: FaultProxy, server: OwnServer
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=2.5 * fragile.leases.ttl_s)
    await fragile.until(job_id, "running")
    await fragile.runner(comfy, redis=server.url)
    proxy.black_hole()
    await fragile.until_event(job_id, "recovered")
    proxy.lift()
    job = await fragile.until(job_id, "succeeded")
    assert await comfy.executions() == [job.prompt_id]
    await assert_sound(fragile, job_id)


async def test_a_flushed_server_gets_its_running_job_back_from_the_runner(fragile: Stack) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=3)
    before = await fragile.until(job_id, "running")
    await command(fragile.log.redis, "FLUSHALL")
    await fragile.until_known(job_id)
    job = await fragile.until(job_id, "succeeded")
    assert job.rewound >= 1
    assert await comfy.executions() == [before.prompt_id]
    assert [found.job_id for found in await lost_writes(fragile.log)] == [job_id]


async def test_a_flushed_server_s_jobs_are_taken_by_others_and_run_once(fragile: Stack) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    jobs = [await fragile.submit(seconds=3) for _ in range(2)]
    for job_id in jobs:
        await fragile.until_event(job_id, "queued")
    for _ in range(2):  # with room, so that they claim what is submitted again at once
        await fragile.runner(comfy, await fragile.comfy())
    before = sorted([(await fragile.job(job_id)).prompt_id for job_id in jobs])
    await command(fragile.log.redis, "FLUSHALL")
    for job_id in jobs:
        await fragile.until_known(job_id)
        assert (await fragile.until(job_id, "succeeded")).backend == comfy.url
    assert sorted(await comfy.executions()) == before


async def test_a_server_with_an_older_file_adopts_what_comfyui_still_runs(
    fragile: Stack, server: OwnServer
) -> None:
    comfy = await fragile.comfy()
    job_id = await fragile.submit(seconds=4)
    await copy_data(server, "older")
    runner = await fragile.runner(comfy)
    before = await fragile.until(job_id, "running")
    runner.kill()
    await run_sync(server.kill)
    await restore_data(server, "older")
    await run_sync(server.start)
    assert await fragile.event_types(job_id) == ["submitted"], "the log has gone back in time"
    await fragile.runner(comfy)
    job = await fragile.until(job_id, "succeeded")
    assert (job.attempt, await comfy.executions()) == (1, [before.prompt_id])
    await assert_sound(fragile, job_id)


async def test_a_runner_that_saw_more_than_the_log_names_the_job(
    fragile: Stack, server: OwnServer
) -> None:
    comfy = await fragile.comfy()
    await fragile.runner(comfy)
    job_id = await fragile.submit(seconds=6)
    await fragile.until_event(job_id, "claimed")
    await copy_data(server, "older")
    before = await fragile.until(job_id, "running")
    await run_sync(server.kill)
    await restore_data(server, "older")
    await run_sync(server.start)
    job = await fragile.until(job_id, "succeeded")
    assert job.rewound >= 1
    assert await comfy.executions() == [before.prompt_id]
    assert job_id in [found.job_id for found in await lost_writes(fragile.log)]


async def copy_data(server: OwnServer, name: str) -> None:
    source = server.folder / "appendonlydir"
    await run_sync(shutil.copytree, source, server.folder / name)


async def restore_data(server: OwnServer, name: str) -> None:
    await run_sync(shutil.rmtree, server.folder / "appendonlydir")
    await run_sync(shutil.copytree, server.folder / name, server.folder / "appendonlydir")
