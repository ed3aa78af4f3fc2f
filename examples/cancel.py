"""Cancel a job, wherever it is.

Needs REDIS_URL (or `everfold up` on this machine).
"""

from __future__ import annotations

import anyio

from everfold import Everfold
from examples.workflow import small_picture


async def main() -> None:
    async with Everfold.connect() as everfold:
        made = await everfold.submit(small_picture(color=0x993366))
        job = await everfold.cancel(made.job_id, reason="the customer left")
        # Its runner stops a running job and verifies that.
        job = await everfold.wait(job.job_id, timeout_s=60)
        print(job.status)


if __name__ == "__main__":
    anyio.run(main)
