"""Submit the same order twice: an idempotency key makes it one job.

Needs REDIS_URL (or `everfold up` on this machine).
"""

from __future__ import annotations

import anyio

from everfold import Everfold
from examples.workflow import small_picture


async def main() -> None:
    async with Everfold.connect() as everfold:
        first = await everfold.submit(small_picture(), idempotency_key="order-17")
        again = await everfold.submit(small_picture(), idempotency_key="order-17")
        print("same job:", first.job_id == again.job_id)
        print("made by the second submit:", again.created)


if __name__ == "__main__":
    anyio.run(main)
