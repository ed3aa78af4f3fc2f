"""The whole work of each role, done by the product's own code with the rights of that role."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import httpx

from everfold import Everfold
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import BEGINNING, GiveUp, Subscription, TryLater
from everfold.streams.border.secrets import Secret
from everfold.streams.events.event import Policy
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.access import Role
from tests.rights.farm import NS, Farm
from tests.rights.gateway_work import use_gateway
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually

Work = Callable[[Farm], Awaitable[None]]

WITH_FILE: dict[str, object] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


async def everything_runs(farm: Farm) -> str:
    """Let an administrator's runner and projector work on a first job; return that job."""
    comfy = await farm.stack.comfy()
    await farm.stack.projector()
    await farm.boss_runs("runner", "--comfyui", comfy.url)
    job_id = await farm.stack.submit(0.1)
    await farm.stack.ended(job_id)
    return job_id


async def read_all(everfold: Everfold, job_id: str) -> None:
    """Ask all that can be asked of a job and a namespace."""
    await everfold.get(job_id)
    await everfold.find(job_id[-12:])
    await everfold.list(user="ada", kind="k", statuses=["queued", "running"])
    await everfold.list(tag="t", batch="b", metadata={"order": "1"})
    await everfold.list(statuses=["succeeded"])
    assert (await everfold.list()).jobs
    assert await everfold.events(job_id)
    await everfold.why(job_id)
    await everfold.position(job_id)
    await everfold.outputs(job_id)
    await everfold.batches()
    await everfold.batch("b").progress()
    await everfold.queues()
    await everfold.limits()
    await everfold.backends()
    await everfold.runners()
    await everfold.acts()
    await everfold.select(JobFilter(user="ada"))


async def client(farm: Farm) -> None:
    """Submit in each way, watch, wait, cancel, repeat, and follow."""
    first = await everything_runs(farm)
    async with farm.client("client") as everfold:
        graph = sleeper(0.1)
        done = await everfold.submit(graph, idempotency_key="k", user="ada", kind="k")
        again = await everfold.submit(graph, idempotency_key="k", user="ada", kind="k")
        assert not again.created
        assert [job.status async for job in everfold.watch(done.job_id)][-1] == "succeeded"
        await everfold.rerun(first)
        later = await everfold.submit(
            sleeper(1), run_at=timedelta(hours=1), batch="b", tags=["t"], metadata={"order": "1"},
            policy=Policy(queue_deadline_s=9000),
        )  # fmt: skip
        waits = await everfold.submit(
            sleeper(1), queue="nobody", batch="b", priority="low",
            partner_keys={"api_key_comfy_org": Secret("a-secret-key")},
        )  # fmt: skip
        await everfold.change_priority(waits.job_id, "high")
        await read_all(everfold, later.job_id)
        await everfold.cancel(later.job_id)
        assert (await everfold.wait(later.job_id, 5)).status == "canceled"
        runs = await everfold.submit(sleeper(20))
        await farm.stack.until(runs.job_id, "running")
        await everfold.cancel(runs.job_id)
        assert (await everfold.wait(runs.job_id, 20)).status == "canceled"
        assert (await everfold.batch("b").cancel()).selected
        sent = await everfold.submit(WITH_FILE, user="ada", inputs={"1.image": b"photo"})
        assert (await everfold.get(sent.job_id)).inputs
        async with everfold.follow() as batches:
            await farm.stack.submit(0)
            assert await anext(batches)
        put = farm.folder / "a.txt"
        put.write_text("content")
        asset_id = (await farm.done("assets", "put", str(put)))[0].split()[0]
        await farm.done("assets", "show", asset_id)


async def reader(farm: Farm) -> None:
    """Look at everything, change nothing."""
    job_id = await everything_runs(farm)
    async with farm.client("reader") as everfold:
        await read_all(everfold, job_id)
        assert [job.status async for job in everfold.watch(job_id)][-1] == "succeeded"
        async with everfold.follow() as batches:
            await farm.stack.submit(0)
            assert await anext(batches)
    await farm.done("jobs", "ls")
    await farm.done("jobs", "outputs", job_id, "--to", str(farm.folder / "out"))
    await farm.done("assets", "ls")
    await farm.done("assets", "verify")
    await farm.done("audit", "timeline")
    await farm.done("audit", "acts")
    await farm.done("keys", "ls")
    program = farm.run("metrics", "--metrics-port", "0")
    url = (await program.line("http://", within_s=20)).split()[-1]
    async with httpx.AsyncClient(timeout=20) as prometheus:
        assert "everfold_namespace_up 1" in (await prometheus.get(url)).text


async def operator(farm: Farm) -> None:
    """Make keys, set limits, pause, take a server out of service, drain a runner, erase a user."""
    await everything_runs(farm)
    await farm.done("keys", "add", "one", "--user", "ada")
    await farm.done("keys", "revoke", "one")
    await farm.done("limits", "set", "running", "queue", "default", "3")
    await farm.done("limits", "rm", "running", "queue", "default")
    await farm.done("queues", "pause", "default")
    async with farm.client("operator") as everfold:
        put = await everfold.assets.put(PICTURE, owner="ada", name="a.png")
        held = await everfold.submit(sleeper(0), user="ada")
        await everfold.change_priority(held.job_id, "high")
        (backend,) = await everfold.backends()
        (one,) = await everfold.runners()
        for act in ("drain", "return", "retire", "return"):
            await farm.done("backends", act, backend.name)
        await farm.done("assets", "rm", put.asset.id)
        await farm.done("assets", "gc")
        await farm.done("erase", "--user", "ada", "--yes", "--cancel")
        await everfold.drain_runner(one.name)


async def runner(farm: Farm) -> None:
    """Run jobs with files, recover one of a dead runner, wait, repeat, and drain."""
    comfy = await farm.stack.comfy()
    await farm.stack.projector()
    async with Everfold.connect(
        farm.log.url, namespace=NS, assets=farm.assets, actor="boss"
    ) as boss:
        config = farm.folder / "everfold.toml"
        config.write_text('[limits.running.user]\n"*" = 2\n')
        lost = await boss.submit(sleeper(0.1))
        leases = await Dispatch(farm.log, "dead").claim(
            farm.log.keys.partition_of(lost.job_id), ["default"], 1
        )
        assert leases
        later = await boss.submit(sleeper(0.1), run_at=timedelta(seconds=2), user="ada")
        fails = await boss.submit(
            {"1": {"class_type": "JTRaise", "inputs": {}}}, validate=False,
            policy={"retries": 1, "retry_backoff_s": 0.1},
        )  # fmt: skip
        keyed = await boss.submit(
            sleeper(0.1), partner_keys={"api_key_comfy_org": Secret("a-secret-key")}, user="ada"
        )
        sent = await boss.submit(WITH_FILE, user="ada", inputs={"1.image": PICTURE})
        program = farm.run(
            *("runner", "--comfyui", comfy.url, "--lease-ttl", "2s", "--drain", "1s"),
            *("--config", str(config)),
        )
        await program.line("takes jobs", within_s=20)
        for one in (lost, later, fails, keyed, sent):
            await farm.stack.ended(one.job_id)
        runs = await boss.submit(sleeper(30))
        await farm.stack.until(runs.job_id, "running")
        await boss.cancel(runs.job_id)
        await farm.stack.ended(runs.job_id)
        held = await boss.submit(sleeper(30))
        await farm.stack.until(held.job_id, "running")
        program.send(signal.SIGTERM)
        assert await program.end(20) == 0, program
        assert "released" in await farm.stack.event_types(held.job_id), program
    assert "Traceback" not in str(program)


async def projector(farm: Farm) -> None:
    """Fold jobs with two processes, of which one ends; then fold on."""
    comfy = await farm.stack.comfy()
    programs = [farm.run("projector", "--index-metadata", "order") for _ in range(2)]
    for program in programs:
        await program.line("projector", within_s=20)
    await farm.boss_runs("runner", "--comfyui", comfy.url)
    first = await farm.stack.submit(0.1)
    await farm.stack.ended(first)
    programs[0].send(signal.SIGTERM)
    assert await programs[0].end() == 0
    second = await farm.stack.submit(0.1)
    await farm.stack.ended(second)
    keys = farm.log.keys
    await eventually(lambda: all(farm.admin.exists(keys.job(one)) for one in (first, second)))
    await farm.done("projector", "rebuild")
    await farm.done("projector", "status")
    programs[1].send(signal.SIGTERM)
    assert await programs[1].end() == 0
    assert not any("Traceback" in str(one) for one in programs)


async def consumer(farm: Farm) -> None:
    """Deliver to a subscription: some at once, some later, one never; and write to a database."""
    await everything_runs(farm)
    seen: dict[str, int] = {}

    @Subscription("s", start=BEGINNING, retry_s=(0.05, 0.05))
    async def subscription(delivery: Delivery) -> None:
        job_id = delivery.record.job_id
        seen[job_id] = seen.get(job_id, 0) + 1
        if job_id == "never":
            raise GiveUp("no")
        if seen[job_id] == 1:
            raise TryLater("not yet", 0.05)

    await farm.log.submit(sleeper(0), job_id="never", queue="nobody")
    async with farm.client("consumer") as everfold, anyio.create_task_group() as tasks:
        await tasks.start(everfold.consume, subscription)
        await eventually(lambda: len(seen) == 2 and max(seen.values()) > 3, 20)
        tasks.cancel_scope.cancel()
    program = farm.run("sink", "sql", "--url", f"sqlite:///{farm.folder / 'jobs.db'}")
    await program.line("sqlite", within_s=20)
    program.send(signal.SIGTERM)
    assert await program.end() == 0, program


async def auditor(farm: Farm) -> None:
    """Verify, prove, show, draw, and replay into a file."""
    job_id = await everything_runs(farm)
    place = str(farm.folder / "archive")
    archived = farm.stack.start(
        "-m", "everfold", "archive", "run", "--everything", "--archive", place,
        environ=farm.stack.names,
    )  # fmt: skip
    assert await archived.end(20) == 0, archived
    await farm.done("audit", "verify")
    await farm.done("audit", "prove")
    await farm.done("audit", "show", job_id)
    await farm.done("audit", "timeline")
    await farm.done("audit", "acts")
    await farm.done("audit", "replay", "--to", str(farm.folder / "all.jsonl"))
    await farm.done("doctor")


async def archiver(farm: Farm) -> None:
    """Archive all, trim, and name who holds what."""
    await everything_runs(farm)
    await farm.stack.submit(60)
    place = str(farm.folder / "archive")
    await farm.done("archive", "run", "--everything", "--archive", place, "--trim-after", "0")
    await farm.done("archive", "ls")
    await farm.done("archive", "readers")
    await farm.done("archive", "trim", "--retention", "0")
    await farm.done("archive", "forget", "archive")


async def gateway(farm: Farm) -> None:
    """Serve all three contracts to their clients."""
    comfy = await farm.stack.comfy()
    await farm.stack.projector()
    await farm.boss_runs("runner", "--comfyui", comfy.url)
    program = farm.run("serve", "--port", "0")
    line = await program.line("http://", within_s=20)
    await program.line("ready", within_s=20)
    await use_gateway(farm, line.split()[-1])
    program.send(signal.SIGTERM)
    assert await program.end() == 0, program
    assert "Traceback" not in str(program)


PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c636060606000000005000159d3a7560000000049454e44ae426082"
)

WORK: dict[Role, Work] = {
    "client": client,
    "operator": operator,
    "reader": reader,
    "runner": runner,
    "projector": projector,
    "consumer": consumer,
    "auditor": auditor,
    "archiver": archiver,
    "gateway": gateway,
}
