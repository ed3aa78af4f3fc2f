"""Send one receipt for each job that has succeeded, however often this program is killed.

Start it several times: the processes share the work. Kill one: the others go on after five seconds.
`everfold subscriptions ls` shows their lag. Needs REDIS_URL (or `everfold up` on this machine).

    python -m examples.receipts
"""

from __future__ import annotations

import anyio

from everfold import Delivery, Everfold, Subscription, TryLater

SENT = set[str]()
"""Stands for the mail service, which ignores a key that it has seen."""


@Subscription("receipts", types=["job.succeeded"])
async def receipts(delivery: Delivery) -> None:
    job = delivery.job
    if not job.user:
        return  # nobody to send it to
    if len(SENT) == 1 and "asked to wait" not in SENT:
        SENT.add("asked to wait")
        raise TryLater("the mail service is busy", after_s=0.1)
    SENT.add(delivery.event.id)
    print(f"receipt to {job.user} for {job.kind}: job {job.job_id}")


async def main() -> None:
    async with Everfold.connect() as everfold:
        await everfold.consume(receipts)


if __name__ == "__main__":
    anyio.run(main)
