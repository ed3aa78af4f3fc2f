"""A runner that is not Everfold's own: takes jobs, tells their story, ends them.

Any work may be behind a job; here it is counting. Needs REDIS_URL (or `everfold up`).
"""

from __future__ import annotations

import anyio

from everfold.client import Everfold
from everfold.embedded import find
from examples.workflow import small_picture
from streams.errors import JobClosed, LeaseLost
from streams.events import Canceled, Progressed, Started, Succeeded
from streams.log import Log
from streams.outcomes import Lease, LeaseOver, Renewed
from streams.producer import RENEW_EVERY_S, Producer

QUEUE = "counting"


async def main() -> None:
    async with Everfold.connect() as everfold:
        made = await everfold.submit(small_picture(), queue=QUEUE)
    # One name for the whole life of the process; another process uses another name.
    async with Log.open(find(), actor="counter-1") as log:
        producer = Producer(log, "counter-1", queues=[QUEUE])
        for lease in await producer.claim(most=1, wait_s=5):
            await work(producer, lease)
            print("done", lease.job_id == made.job_id)


async def work(producer: Producer, lease: Lease) -> None:
    """Do one job under its lease, renewing it meanwhile."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep, producer, lease, tasks.cancel_scope)
        try:
            await count(producer, lease)
        except (LeaseLost, JobClosed) as over:
            # Somebody else has the job now. Nothing that we append would count: just stop.
            print("stopped:", over)
        tasks.cancel_scope.cancel()


async def count(producer: Producer, lease: Lease) -> None:
    await producer.append(lease, Started(attempt=1))
    for step in range(1, 4):
        await anyio.sleep(0.1)
        done = Progressed(attempt=1, value=step / 4, nodes_done=step, nodes_total=4)
        await producer.append(lease, done)
    await producer.finish(lease, Succeeded(attempt=1, outputs={"1": {"text": ["counted"]}}))


async def keep(producer: Producer, lease: Lease, scope: anyio.CancelScope) -> None:
    """Renew until cancelled; stop the work when the lease is over or the job is not wanted."""
    while True:
        match (await producer.renew([lease]))[0]:
            case Renewed(canceling=True):
                await producer.finish(lease, Canceled(reason="on request"))
                scope.cancel()
            case LeaseOver():
                scope.cancel()
        await anyio.sleep(RENEW_EVERY_S)


if __name__ == "__main__":
    anyio.run(main)
