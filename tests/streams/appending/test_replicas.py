"""What was acknowledged with `replicas` is on so many; what too few have is repeated."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import cast

import anyio
import pytest

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Fenced, ServerRefusesAccess, TooFewReplicas
from everfold.streams.events.event import (
    CancelRequested,
    Failed,
    Failure,
    Progressed,
    Released,
    Started,
    Submitting,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_info, server_time_ms
from everfold.web.access.key_store import add_key, list_keys
from tests.support.groups.replicas import Replicated, replicated
from tests.support.servers import StartServer, client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def one(own_server: StartServer) -> Replicated:
    return await replicated(own_server, 1)


@contextlib.asynccontextmanager
async def opened(group: Replicated, retry_for_s: float = 0.0, **more: object) -> AsyncIterator[Log]:
    """Wait long for replicas, which may be slow on a busy machine."""
    asked: dict[str, object] = {"replicas": 1, "replicas_within_s": 8.0, **more}
    async with Log.open(group.url, partitions=1, **asked) as log:  # type: ignore[arg-type]
        log.retry_for_s = retry_for_s
        yield log


HURRIED = 0.5
"""For replicas that are frozen."""


async def leased(log: Log) -> Lease:
    kept, log.retry_for_s = log.retry_for_s, 10.0  # a replica may be slow at first
    await log.submit(GRAPH)
    log.retry_for_s = kept
    [lease] = await Dispatch(log, "r1").claim(0, ("default",), 1)
    return lease


def failed(job_id: str) -> Failed:
    return Failed(id=f"end-{job_id}", failure=Failure(code="x", message="y"))


def progressed(value: float) -> Progressed:
    return Progressed(attempt=1, value=value, nodes_done=1, nodes_total=9)


def submitting() -> Submitting:
    return Submitting(id="intent-1", attempt=1, backend="b", boot="", prompt_id="p", client_id="c")


async def waits(group: Replicated) -> int:
    """Return how often the primary was asked to wait."""
    with client(group.url) as redis:
        said = cast("dict[str, dict[str, int]]", redis.info("commandstats"))
    return said.get("cmdstat_wait", {"calls": 0})["calls"]


async def test_what_is_acknowledged_is_on_the_replica(one: Replicated) -> None:
    async with opened(one) as log:
        lease = await leased(log)
        done = await log.append(lease.job_id, failed(lease.job_id), epoch=lease.epoch)
        one.primary.kill()
    with client(one.replicas[0].url) as redis:
        head = cast("dict[bytes, bytes]", redis.hgetall(log.keys.head(lease.job_id)))
    assert (head[b"status"], int(head[b"seq"])) == (b"failed", done.seq)


async def test_what_happens_at_once_shares_a_wait(one: Replicated) -> None:
    async with opened(one) as log, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(log.submit, GRAPH)
    assert 1 <= await waits(one) <= 20


async def test_a_flush_of_the_scripts_is_not_seen(one: Replicated) -> None:
    async with opened(one) as log:
        await log.submit(GRAPH)
        await command(log.redis, "SCRIPT FLUSH")
        assert (await log.submit(GRAPH)).created


async def test_events_in_the_middle_of_a_job_wait_only_when_all_do(one: Replicated) -> None:
    async with opened(one) as log, opened(one, replicas_for="all") as careful:
        lease = await leased(log)
        before = await waits(one)
        await log.append(lease.job_id, Started(attempt=1), epoch=lease.epoch)
        assert await waits(one) == before
        await careful.append(lease.job_id, progressed(0.5), epoch=lease.epoch)
        assert await waits(one) == before + 1


Write = Callable[[Log], Awaitable[object]]


async def _submit(log: Log) -> object:
    return await log.submit(GRAPH, job_id="new")


def _acts(lease: Lease) -> dict[str, Write]:
    """Return what is acknowledged of a leased job, by name; each may be repeated."""
    job_id, epoch = lease.job_id, lease.epoch
    cancel = CancelRequested(id="cancel-1")
    return {
        "submit": _submit,
        "end": lambda log: log.append(job_id, failed(job_id), epoch=epoch),
        "cancel": lambda log: log.append(job_id, cancel, epoch=0),
        "release": lambda log: Dispatch(log, "r1").release(lease, Released(id="go", reason="x")),
        "intent": lambda log: log.append(job_id, submitting(), epoch=epoch),
    }


@pytest.mark.parametrize("name", ["submit", "intent", "end", "cancel", "release"])
async def test_a_repeat_over_a_fresh_connection_waits_for_what_the_first_one_wrote(
    one: Replicated, name: str
) -> None:
    async with opened(one, replicas_within_s=HURRIED) as log:
        act = _acts(await leased(log))[name]
        one.freeze()
        with pytest.raises(TooFewReplicas):
            await act(log)
        for _ in range(2):
            async with opened(one, replicas_within_s=HURRIED) as other:
                with pytest.raises(TooFewReplicas) as caught:
                    await act(other)
                assert (caught.value.had, caught.value.asked) == (0, 1)
        one.thaw()
        async with opened(one, retry_for_s=10) as other:
            await act(other)
        assert one.offset(one.replicas[0]) > 0


async def test_a_repeat_of_a_cancel_by_somebody_else_waits_too(one: Replicated) -> None:
    async with opened(one, replicas_within_s=HURRIED) as log:
        lease = await leased(log)
        one.freeze()
        for number in range(2):
            async with opened(one, replicas_within_s=HURRIED) as other:
                asked = CancelRequested(id=f"cancel-{number}", actor=f"user{number}")
                with pytest.raises(TooFewReplicas):
                    await other.append(lease.job_id, asked, epoch=0)


async def test_an_outage_of_the_replica_is_waited_out(one: Replicated) -> None:
    async with opened(one, retry_for_s=30, replicas_within_s=HURRIED) as log:
        lease = await leased(log)
        one.freeze()
        ends = list[str]()

        async def finish(name: str, act: Write) -> None:
            await act(log)
            ends.append(name)

        async with anyio.create_task_group() as tasks:
            for name, act in list(_acts(lease).items())[:2]:
                tasks.start_soon(finish, name, act)
            await anyio.sleep(0.5)
            assert ends == []
            one.thaw()
        assert sorted(ends) == ["end", "submit"]


async def test_what_needs_no_replica_goes_on_while_an_end_waits(one: Replicated) -> None:
    async with (
        opened(one, retry_for_s=30, replicas_within_s=HURRIED) as log,
        anyio.create_task_group() as tasks,
    ):
        first, second = await leased(log), await leased(log)
        one.freeze()
        tasks.start_soon(partial(log.append, first.job_id, failed("1"), epoch=first.epoch))
        for number in range(3):
            with anyio.fail_after(5):
                share = progressed(number / 10)
                await log.append(second.job_id, share, epoch=second.epoch)
        one.thaw()


async def test_what_waits_for_replicas_holds_up_no_reader(one: Replicated) -> None:
    async with opened(one, retry_for_s=3, replicas_within_s=8.0) as log:
        await log.submit(GRAPH)
        one.freeze()
        async with anyio.create_task_group() as tasks:

            async def submit() -> None:
                with contextlib.suppress(TooFewReplicas):
                    await log.submit(GRAPH)

            for _ in range(300):
                tasks.start_soon(submit)
            for _ in range(20):
                with anyio.fail_after(6):
                    await server_time_ms(log.redis)
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()


async def test_a_refusal_does_not_wait_for_replicas(one: Replicated) -> None:
    async with opened(one, retry_for_s=30, replicas_within_s=HURRIED) as log:
        lease = await leased(log)
        one.freeze()
        with anyio.fail_after(5), pytest.raises(Fenced):
            await log.append(lease.job_id, failed("1"), epoch=lease.epoch + 7)


async def test_two_are_asked_for_and_one_is_away(own_server: StartServer) -> None:
    two = await replicated(own_server, 2)
    async with (
        opened(two, replicas=2, replicas_within_s=HURRIED) as log,
        opened(two, replicas=1) as content,
    ):
        await log.submit(GRAPH)
        two.freeze(0)
        with pytest.raises(TooFewReplicas, match="1 of the 2"):
            await log.submit(GRAPH)
        assert (await content.submit(GRAPH)).created
        await eventually(lambda: two.offset(two.primary) == two.offset(two.replicas[1]))


async def test_a_server_that_does_not_wait_is_refused_at_once(own_server: StartServer) -> None:
    server = own_server(tcp=True)
    with client(server.url) as redis:
        rules = ("~*", "&*", "+@all", "-wait")
        redis.execute_command("ACL", "SETUSER", "u", "on", ">p", *rules)
    url = server.url.replace("redis://", "redis://u:p@")
    with pytest.raises(ServerRefusesAccess, match="WAIT"):
        async with Log.open(url, replicas=1):
            pass
    async with Log.open(url) as log:
        assert await server_info(log.redis, "server")


async def test_an_end_without_a_lease_waits_as_any_other(one: Replicated) -> None:
    async with opened(one, replicas_within_s=HURRIED) as log:
        job = await log.submit(GRAPH)
        one.freeze()
        with pytest.raises(TooFewReplicas):
            await log.append(job.job_id, failed("1"), epoch=UNLEASED)


@pytest.mark.parametrize("name", ["limit", "pause", "key"])
async def test_what_an_operator_does_waits_and_is_not_done_where_it_would_not_last(
    one: Replicated, name: str
) -> None:
    asked = {"replicas": 1, "replicas_within_s": 0.5}
    async with Everfold.connect(one.url, **asked) as everfold:  # type: ignore[arg-type]
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "limit": lambda: everfold.set_limit("running", "user", "ada", 2),
            "pause": lambda: everfold.pause_queue("default"),
            "key": lambda: add_key(everfold.log, "k", role="operator"),
        }
        everfold.log.retry_for_s = 10
        await everfold.submit(GRAPH)
        one.freeze()
        with pytest.raises(TooFewReplicas):
            await acts[name]()
        assert (await everfold.limits(), await list_keys(everfold.log)) == ([], [])
        assert not [queue for queue in await everfold.queues() if queue.paused_by]
        one.thaw()
        await eventually(lambda: one.offset(one.primary) == one.offset(one.replicas[0]), 20)
        before = await waits(one)
        await acts[name]()
        assert await waits(one) >= before + 2
