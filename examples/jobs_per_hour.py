"""A projection of your own: jobs per user and hour, and how many of them succeeded.

    everfold projector --projection examples.jobs_per_hour:PER_HOUR
    everfold projector show examples.jobs_per_hour:PER_HOUR
    everfold projector rebuild --projection examples.jobs_per_hour:PER_HOUR

Needs REDIS_URL (or `everfold up` on this machine). Run it as a program to count the log.
"""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
from msgspec import Struct

from everfold import Everfold, Job, Projection, Rebuild, Recorded, Submitted, Succeeded
from examples.workflow import small_picture


class Counts(Struct, frozen=True):
    submitted: int = 0
    succeeded: int = 0


def key(job: Job, record: Recorded) -> str | None:
    """Return user and hour of a submit or a success; None leaves the event out."""
    if not isinstance(record.event, Submitted | Succeeded):
        return None
    hour = datetime.fromtimestamp(record.time_ms / 1000, UTC)
    return f"{job.user}/{hour:%Y-%m-%dT%H}"


def count(counts: Counts | None, job: Job, record: Recorded) -> Counts:
    counts = counts or Counts()
    if isinstance(record.event, Submitted):
        return Counts(counts.submitted + 1, counts.succeeded)
    return Counts(counts.submitted, counts.succeeded + 1)


def together(first: Counts, second: Counts) -> Counts:
    """Add up the counts of a user's jobs, which lie in several partitions."""
    return Counts(first.submitted + second.submitted, first.succeeded + second.succeeded)


PER_HOUR = Projection(
    name="jobs-per-hour", state=Counts, key=key, evolve=count, merge=together, version="1"
)


async def main() -> None:
    async with Everfold.connect() as everfold:
        for number in range(5):
            await everfold.submit(small_picture(color=number), user="ada" if number % 2 else "bob")
        await Rebuild(everfold.log, PER_HOUR).run()
        for name, counts in sorted((await PER_HOUR.states(everfold.log)).items()):
            print(f"{name}: {counts.submitted} submitted, {counts.succeeded} succeeded")


if __name__ == "__main__":
    anyio.run(main)
