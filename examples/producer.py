"""A runner of your own: claims jobs, appends their events, ends them.

The work of a job can be anything; here it counts to ten. Kill this program in the middle and start
it again with the same key: the second process takes the job over, and goes on after the last event
of the first one. Needs REDIS_URL (or `everfold up` on this machine).

    python -m examples.producer [IDEMPOTENCY_KEY]
"""

from __future__ import annotations

import os
import sys

import anyio

from everfold import (
    Canceled,
    JobClosed,
    Lease,
    LeaseLost,
    LeaseOver,
    Log,
    Producer,
    Progressed,
    Renewed,
    Started,
    Succeeded,
    Terminal,
    Unavailable,
    find_server,
    job_events,
    new_id,
)
from examples.workflow import small_picture

QUEUE = "counting"
STEPS = 10
STEP_S = float(os.environ.get("STEP_S", "0.05"))
LEASE_TTL_S = float(os.environ.get("LEASE_TTL_S", "10"))


async def main(key: str) -> None:
    # One name per process start: two processes with the same name would share their leases.
    name = f"counter-{os.getpid()}-{new_id()[-4:]}"
    async with Log.open(find_server(), actor=name) as log:
        # With a key, a repeated submit finds the first job.
        made = await log.submit(small_picture(), queue=QUEUE, idempotency_key=key)
        print("submitted" if made.created else "known", made.job_id)
        producer = Producer(log, name, queues=[QUEUE], lease_ttl_s=LEASE_TTL_S)
        for lease in await take(producer):
            await work(producer, lease)


async def take(producer: Producer) -> list[Lease]:
    """Claim one job: first one whose runner is gone, else the one that has waited longest."""
    try:
        return await producer.claim(most=1, wait_s=2 * LEASE_TTL_S)
    except Unavailable:
        # The answer may have been lost, although the server gave us leases.
        return await producer.own_leases()


async def work(producer: Producer, lease: Lease) -> None:
    try:
        end = await count_while_leased(producer, lease)
        if end is not None:
            # Closes the job and removes it from dispatch, in one step.
            await producer.finish(lease, end)
            print("ended", lease.job_id, type(end).__name__)
    except* (LeaseLost, JobClosed) as over:
        # Another runner has the job, or it has ended: the log refuses our events, so stop.
        print("stopped:", *over.exceptions)


async def count_while_leased(producer: Producer, lease: Lease) -> Terminal | None:
    """Return how the job ended, None when the lease ended first."""
    end: Terminal | None = None

    async def keep() -> None:
        nonlocal end
        while True:
            await anyio.sleep(LEASE_TTL_S / 5)
            try:
                outcomes = await producer.renew([lease])
            except Unavailable:
                # Go on: should the lease run out, the log refuses our events.
                continue
            match outcomes[0]:
                case Renewed(canceling=True):
                    end = Canceled(reason="on request")
                case LeaseOver(current_epoch=epoch):
                    print("stopped: the lease is over, the epoch is now", epoch)
                case _:
                    continue
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep)
        end = await count(producer, lease)
        tasks.cancel_scope.cancel()
    return end


async def count(producer: Producer, lease: Lease) -> Terminal:
    done = await steps_done(producer.log, lease)
    if done:
        print("taking over after step", done)
    else:
        await producer.append(lease, Started(attempt=1))
    for step in range(done + 1, STEPS + 1):
        await anyio.sleep(STEP_S)  # the work
        # Returns when the event is in the log; waits while the server is away for seconds.
        progress = Progressed(
            attempt=1, value=step / (STEPS + 1), nodes_done=step, nodes_total=STEPS
        )
        await producer.append(lease, progress)
        print("step", step)
    return Succeeded(attempt=1, outputs={"1": {"text": [f"counted to {STEPS}"]}})


async def steps_done(log: Log, lease: Lease) -> int:
    """Return the last step that earlier runners recorded in the log."""
    events = [record.event for record in await job_events(log, lease.job_id)]
    return max((event.nodes_done for event in events if isinstance(event, Progressed)), default=0)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else new_id())
