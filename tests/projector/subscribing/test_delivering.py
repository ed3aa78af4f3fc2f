"""What a subscriber is given, in which order, and what happens when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

from everfold.projector.subscribing.admin import retry, skip
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs, subscription_status
from everfold.projector.subscribing.subscription import GiveUp, Subscription, TargetAway, TryLater
from everfold.streams.appending.log import Log
from everfold.streams.errors import JobNotHeld, Misconfigured, SubscriptionUnknown
from everfold.streams.reading.reader import job_events
from tests.projector.jobs import GRAPH, add_raw, make_jobs, nothing_pending, work
from tests.projector.subscribing.listening import SOON_S, Listener, consuming, taken
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

EVENT_TYPES = ["submitted", "claimed", "submitting", "started", "progressed", "succeeded"]
STRANGE = b'{"type":"job.teleported","id":"x","actor":"y","v":1}'


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def test_each_event_is_delivered_once_and_in_the_order_of_its_job(
    log: Log, listener: Listener
) -> None:
    jobs = await make_jobs(log, 12)
    await work(log, steps=1)
    async with consuming(log, Subscription("all")(listener)):
        await taken(log, "all")
        jobs += await make_jobs(log, 3)
        await work(log, steps=1)
        await eventually(lambda: listener.count == len(jobs) * len(EVENT_TYPES), 10)
    assert all(listener.kinds(job_id) == EVENT_TYPES for job_id in jobs)


async def test_the_job_of_a_delivery_is_the_one_right_after_its_event(log: Log) -> None:
    seen: list[tuple[str, str, str, int]] = []

    @Subscription("states", types=["started", "job.succeeded"])
    async def states(delivery: Delivery) -> None:
        job = delivery.job
        seen.append((delivery.type, job.status, job.user, job.seq - delivery.record.seq))

    await make_jobs(log, 1)
    await work(log)
    async with consuming(log, states):
        await eventually(lambda: len(seen) == 2, 10)
    assert seen == [("job.started", "running", "u0", 0), ("job.succeeded", "succeeded", "u0", 0)]


async def test_only_what_is_wanted_is_delivered_by_type_kind_and_user(
    log: Log, listener: Listener
) -> None:
    wanted = [(await log.submit(GRAPH, kind="portrait", user="ada")).job_id for _ in range(3)]
    await log.submit(GRAPH, kind="portrait", user="bob")
    await log.submit(GRAPH, kind="poster", user="ada")
    await work(log)
    subscription = Subscription("few", types=["succeeded"], kinds=["portrait"], users=["ada"])
    async with consuming(log, subscription(listener)):
        await taken(log, "few")
    assert set(listener.told) == set(wanted)
    assert all(listener.kinds(job_id) == ["succeeded"] for job_id in wanted)


async def test_a_type_that_does_not_exist_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(Misconfigured, match=r"'suceeded'; did you mean job\.succeeded"):
        Subscription("typo", types=["suceeded"])
    for far in ("done", "job.done", ""):
        with pytest.raises(Misconfigured, match=r"; there are job\.submitted, job\.claimed"):
            Subscription("far", types=[far])


async def test_what_fails_is_tried_again_while_its_job_waits_and_the_others_go_on(
    log: Log, listener: Listener
) -> None:
    jobs = await make_jobs(log, 8)
    await work(log)
    failures = {jobs[0]: 2}

    def fails(delivery: Delivery) -> Exception | None:
        left = failures.get(delivery.record.job_id, 0)
        if delivery.type == "job.started" and left:
            failures[delivery.record.job_id] = left - 1
            return ValueError("not today")
        return None

    listener.fails = fails
    async with consuming(log, Subscription("again", retry_s=(2.0, 0.01))(listener)):
        others = [job_id for job_id in jobs if job_id != jobs[0]]
        await eventually(lambda: all("succeeded" in listener.kinds(j) for j in others), 10)
        assert "started" not in listener.kinds(jobs[0])
        held = await eventually(lambda: held_jobs(log, "again"), 10)
        assert [job.job_id for job in held] == [jobs[0]]
        await taken(log, "again")
    assert [seq for seq, _ in listener.told[jobs[0]]] == list(range(1, 11))
    assert sum(row.failed for row in await subscription_status(log, "again")) == 2


async def test_after_the_last_try_the_job_is_parked_with_its_reason_and_waits_for_a_person(
    log: Log, listener: Listener
) -> None:
    (job_id,) = await make_jobs(log, 1)
    await work(log)
    listener.fails = lambda d: ValueError("out of paper") if d.type == "job.started" else None
    async with consuming(log, Subscription("prints", retry_s=SOON_S)(listener)):
        await eventually(lambda: listener.tries == 3 + len(SOON_S) + 1, 15)
        await eventually(lambda: parked_ones(log, "prints"))
        (found,) = await held_jobs(log, "prints", only_parked=True)
        assert (found.job_id, found.held.seq, found.held.failures) == (job_id, 4, 4)
        assert found.held.why == "ValueError: out of paper"
        listener.fails = lambda _: None
        await retry(log, "prints", job_id)
        await taken(log, "prints")
    assert [seq for seq, _ in listener.told[job_id]] == list(range(1, 11))


async def parked_ones(log: Log, name: str) -> int:
    return len(await held_jobs(log, name, only_parked=True))


async def test_a_skip_goes_on_after_the_event(log: Log, listener: Listener) -> None:
    (job_id,) = await make_jobs(log, 1)
    await work(log, steps=1)
    listener.fails = lambda d: GiveUp("never") if d.type == "job.started" else None
    async with consuming(log, Subscription("skips")(listener)):
        await eventually(lambda: parked_ones(log, "skips"), 10)
        assert listener.tries == 4
        await skip(log, "skips", job_id)
        await taken(log, "skips")
        await eventually(lambda: nothing_pending_of(log, "skips"))
    assert listener.kinds(job_id) == [kind for kind in EVENT_TYPES if kind != "started"]


async def test_a_skip_of_the_last_event_there_is_lets_the_job_go(
    log: Log, listener: Listener
) -> None:
    (job_id,) = await make_jobs(log, 1)
    listener.fails = lambda _: GiveUp("never")
    async with consuming(log, Subscription("last")(listener)):
        await eventually(lambda: parked_ones(log, "last"), 10)
        listener.fails = lambda _: None
        await skip(log, "last", job_id)
        await taken(log, "last")
        await work(log, steps=1)
        await eventually(lambda: listener.kinds(job_id) == EVENT_TYPES[1:], 10)


async def nothing_pending_of(log: Log, name: str) -> bool:
    return await nothing_pending(log, f"subscription:{name}")


async def test_a_subscriber_may_say_when_to_try_again(log: Log, listener: Listener) -> None:
    await make_jobs(log, 1)
    listener.fails = lambda _: TryLater("too many requests", after_s=3600)
    async with consuming(log, Subscription("later", retry_s=SOON_S)(listener)):
        found = await eventually(lambda: held_jobs(log, "later"), 10)
    assert found[0].held.why == "too many requests"
    assert found[0].held.next_try_ms is not None
    assert found[0].held.next_try_ms - found[0].held.at_ms > 3_600_000


async def test_while_its_target_is_away_a_partition_waits_and_nobody_is_held(
    log: Log, listener: Listener
) -> None:
    jobs = await make_jobs(log, 6)
    await work(log)
    listener.fails = lambda _: TargetAway("the database is down")
    async with consuming(log, Subscription("waits")(listener)):
        await eventually(lambda: listener.tries > 12, 15)
        assert not await held_jobs(log, "waits")
        listener.fails = lambda _: None
        await eventually(lambda: listener.count == len(jobs) * 10, 20)
    assert all([seq for seq, _ in listener.told[j]] == list(range(1, 11)) for j in jobs)


async def test_a_target_that_stays_away_is_asked_ever_more_seldom_for_a_job_that_is_held(
    log: Log, listener: Listener
) -> None:
    await make_jobs(log, 1)
    asked_s: list[float] = []

    def fails(_: Delivery) -> Exception:
        asked_s.append(anyio.current_time())
        return TargetAway("it is down") if len(asked_s) > 1 else TryLater("not yet", after_s=0.01)

    listener.fails = fails
    async with consuming(log, Subscription("seldom")(listener)):
        await eventually(lambda: len(asked_s) == 7, 20)
    # After five pauses that have doubled each time, from 0.05 s at least.
    assert asked_s[6] - asked_s[5] > 0.7


async def test_what_takes_too_long_counts_as_failed(log: Log, listener: Listener) -> None:
    await make_jobs(log, 1)

    async def pause(_: Delivery) -> None:
        if listener.tries == 1:
            await anyio.sleep_forever()

    listener.pause = pause
    async with consuming(log, Subscription("slow", timeout_s=0.1, retry_s=SOON_S)(listener)):
        await taken(log, "slow")
    assert listener.tries == 2


async def test_a_subscriber_whose_own_task_was_cancelled_has_failed_and_gets_the_event_again(
    log: Log, listener: Listener
) -> None:
    job_id, *others = await make_jobs(log, 8)
    await work(log, steps=0)

    async def wait_for_a_cancelled_task(delivery: Delivery) -> None:
        if delivery.record.job_id == job_id and delivery.record.seq == 2:
            listener.pause = None
            sleeping = asyncio.create_task(asyncio.sleep(60))
            sleeping.cancel()
            await sleeping

    listener.pause = wait_for_a_cancelled_task
    subscription = Subscription("s", retry_s=SOON_S)(listener)
    async with consuming(log, subscription):
        await eventually(lambda: listener.count == 8 * 5)
        await taken(log, "s")
    assert listener.tries == 8 * 5 + 1
    for each in (job_id, *others):
        assert [seq for seq, _ in listener.told[each]] == [1, 2, 3, 4, 5]
    assert sum(row.failed for row in await subscription_status(log, "s")) == 1
    assert await nothing_pending(log, subscription.group)


async def test_a_delivery_in_hand_is_finished_and_acknowledged_when_we_are_told_to_stop(
    log: Log, listener: Listener
) -> None:
    jobs = await make_jobs(log, 1)
    began, may_end = anyio.Event(), anyio.Event()

    async def pause(_: Delivery) -> None:
        began.set()
        await may_end.wait()

    listener.pause = pause
    async with (
        anyio.create_task_group() as tasks,
        consuming(log, Subscription("stops")(listener)),
    ):
        await began.wait()
        tasks.start_soon(after, 0.2, may_end)
    assert listener.kinds(jobs[0]) == ["submitted"]
    assert sum(row.delivered for row in await subscription_status(log, "stops")) == 1
    assert await nothing_pending_of(log, "stops")


async def after(wait_s: float, event: anyio.Event) -> None:
    await anyio.sleep(wait_s)
    event.set()


async def test_several_jobs_of_a_partition_are_delivered_at_the_same_time(
    redis_url: str, namespace: str, listener: Listener
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        await make_jobs(log, 12)

        async def pause(_: Delivery) -> None:
            await eventually(lambda: listener.most_at_once == 4, 10)

        listener.pause = pause
        async with consuming(log, Subscription("wide", concurrency=4)(listener)):
            await eventually(lambda: listener.count == 12, 10)
    assert listener.most_at_once == 4


class Batches(Subscription):
    """Takes many events at a time, and none that holds a forbidden job."""

    def __init__(self) -> None:
        super().__init__("batches", batch=100, retry_s=SOON_S)
        self.sizes: list[int] = []
        self.told: list[tuple[str, int]] = []
        self.forbidden = ""

    async def deliver(self, deliveries: list[Delivery]) -> None:  # type: ignore[override]
        if any(d.record.job_id == self.forbidden and d.record.seq == 4 for d in deliveries):
            raise ValueError("one of these is wrong")
        self.sizes.append(len(deliveries))
        self.told += [(d.record.job_id, d.record.seq) for d in deliveries]


async def test_a_batch_that_fails_is_delivered_one_by_one_to_find_the_culprit(log: Log) -> None:
    jobs = await make_jobs(log, 10)
    await work(log)
    batches = Batches()
    batches.forbidden = jobs[3]
    async with consuming(log, batches):
        await eventually(lambda: parked_ones(log, "batches"), 15)
        (found,) = await held_jobs(log, "batches")
        assert (found.job_id, found.held.seq) == (jobs[3], 4)
        batches.forbidden = ""
        await retry(log, "batches", jobs[3])
        await taken(log, "batches")
    assert max(batches.sizes) > 1
    for job_id in jobs:
        assert [seq for told, seq in batches.told if told == job_id] == list(range(1, 11))


async def test_an_event_that_nobody_can_read_parks_its_job_alone(
    log: Log, listener: Listener
) -> None:
    jobs = await make_jobs(log, 4)
    await add_raw(log, jobs[0], 2, STRANGE)
    await work(log)
    async with consuming(log, Subscription("strange")(listener)):
        await eventually(lambda: listener.count == 31, 10)
        parked = partial(held_jobs, log, "strange", only_parked=True)
        (found,) = await eventually(parked, 10)  # others may all be told before it is parked
        assert (found.job_id, found.held.seq, found.held.cause) == (jobs[0], 2, "unreadable")
        await skip(log, "strange", jobs[0])
        await taken(log, "strange")
    assert [seq for seq, _ in listener.told[jobs[0]]] == [1, *range(3, 12)]


async def test_names_that_do_not_exist_are_told_so(log: Log) -> None:
    with pytest.raises(SubscriptionUnknown, match="no subscription 'nobody' here; there are: none"):
        await retry(log, "nobody", "job")
    async with consuming(log, Subscription("known")(Listener())):
        with pytest.raises(JobNotHeld, match="'known' does not hold job 'job'"):
            await retry(log, "known", "job")


async def test_every_event_is_acknowledged_at_last(log: Log, listener: Listener) -> None:
    jobs = await make_jobs(log, 5)
    await work(log)
    async with consuming(log, Subscription("done", types=["succeeded"])(listener)):
        await taken(log, "done")
        await eventually(lambda: nothing_pending_of(log, "done"))
    assert listener.count == len(jobs)
    assert len(await job_events(log, jobs[0])) == 10
