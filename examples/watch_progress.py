"""Watch a job from its submit to its end; resuming after a break loses nothing.

Needs REDIS_URL (or `everfold up` on this machine) and a runner at work.
"""

from __future__ import annotations

import anyio

from everfold import Everfold
from examples.workflow import small_picture


async def main() -> None:
    async with Everfold.connect() as everfold:
        made = await everfold.submit(small_picture(color=0x669933))
        seen = 0
        async for job in everfold.watch(made.job_id):
            seen = job.seq
            if job.status == "running":
                break  # as if this program had been restarted here
        async for job in everfold.watch(made.job_id, after_seq=seen):
            print(f"{job.seq:>3} {job.status:<10} {job.progress:4.0%} {job.node_class}")


if __name__ == "__main__":
    anyio.run(main)
