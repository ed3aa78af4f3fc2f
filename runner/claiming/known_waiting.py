"""What a runner knows of the jobs that wait, from its last looks: most claims need no new one.

Rule: what is known only chooses; the claim's script says what is leased. What was seen of a
partition is forgotten on a hint of it, when a job seen there was not to be had, when what of a line
was seen has been taken, and when it is old.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.queues.waiting_jobs import WaitingJob, WaitingPage


class KnownWaiting:
    """The first waiting jobs of each queue and partition, as seen at most `most_s` ago."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._known: dict[tuple[str, int], tuple[WaitingPage, float]] = {}
        """What was seen, without what was taken since, and when it was asked for."""

    def pages(self, queue: str, partitions: Iterable[int]) -> dict[int, WaitingPage]:
        """Return what waits in these partitions, without those that must be looked at."""
        least_s, known = steady_s() - self._most_s, self._known
        found = ((p, known.get((queue, p))) for p in partitions)
        return {p: seen[0] for p, seen in found if seen is not None and seen[1] >= least_s}

    def note(self, queue: str, page: WaitingPage, seen_s: float) -> None:
        """Note the first page of a partition, which was asked for at `seen_s`, steady time."""
        self._known[queue, page.partition] = (page, seen_s)

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget what was seen of these partitions."""
        gone = set(partitions)
        self._known = {at: known for at, known in self._known.items() if at[1] not in gone}

    def note_taken(self, queue: str, jobs: Iterable[WaitingJob]) -> None:
        """Note that these jobs wait no more."""
        taken = set(jobs)
        for partition in {job.partition for job in taken}:
            known = self._known.pop((queue, partition), None)
            if known is not None and (rest := _without(known[0], taken)) is not None:
                self._known[queue, partition] = (rest, known[1])


def _without(page: WaitingPage, taken: set[WaitingJob]) -> WaitingPage | None:
    """Return what is left of a page; None where what of a line comes next was never seen."""
    rest = tuple(job for job in page.jobs if job not in taken)
    count = page.count - (len(page.jobs) - len(rest))
    used_up = {job.line for job in page.jobs} - {job.line for job in rest}
    return None if used_up and count > len(rest) else replace(page, jobs=rest, count=count)
