"""Submit a job, wait for its end, print its outputs.

Needs REDIS_URL (or `everfold up` on this machine) and a runner at work.
"""

from __future__ import annotations

import anyio

from everfold import Everfold
from examples.workflow import small_picture


async def main() -> None:
    async with Everfold.connect() as everfold:
        made = await everfold.submit(small_picture(), kind="example", user="ada")
        print("submitted", made.job_id)
        job = await everfold.wait(made.job_id, timeout_s=60)
        print(job.status, job.outputs)


if __name__ == "__main__":
    anyio.run(main)
