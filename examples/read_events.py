"""Read a job's history, event by event, as the log keeps it.

Needs REDIS_URL (or `everfold up` on this machine).
"""

from __future__ import annotations

import anyio

from everfold import Everfold
from examples.workflow import small_picture


async def main() -> None:
    async with Everfold.connect() as everfold:
        made = await everfold.submit(small_picture(), idempotency_key="order-18")
        await everfold.cancel(made.job_id)
        for record in await everfold.events(made.job_id):
            print(record.seq, record.entry_id, record.payload.decode())


if __name__ == "__main__":
    anyio.run(main)
