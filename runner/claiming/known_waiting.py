"""What a runner knows of the jobs that wait, from its last looks: most claims need no new one.

Rule: what is known only chooses; the claim's script says what is leased. What was seen of a
partition is forgotten on a hint of it, when a job seen there was not to be had, when what of a line
was seen has been taken, and when it is old.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.queues.waiting_jobs import WaitingJob, WaitingPage


class _Known(Struct, frozen=True):
    page: WaitingPage
    """What waits there, without what was taken since."""
    seen_s: float
    each: int
    """As many jobs of a line as the look could show."""


class KnownWaiting:
    """The first waiting jobs of each queue and partition, as seen at most `most_s` ago."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._known: dict[tuple[str, int], _Known] = {}

    def page(self, queue: str, partition: int) -> WaitingPage | None:
        """Return what waits there; None where it must be looked at."""
        known = self._known.get((queue, partition))
        if known is None or steady_s() - known.seen_s > self._most_s:
            return None
        return known.page

    def note(self, queue: str, page: WaitingPage, seen_s: float, each: int) -> None:
        """Note the first page of a partition, which was asked for at `seen_s`, steady time."""
        self._known[queue, page.partition] = _Known(page, seen_s, each)

    def note_none(self, queue: str, partition: int, seen_s: float) -> None:
        """Note that no job of a queue waits in a partition."""
        self.note(queue, WaitingPage(partition, 0, 0, ()), seen_s, 1)

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget what was seen of these partitions."""
        gone = set(partitions)
        self._known = {at: known for at, known in self._known.items() if at[1] not in gone}

    def note_taken(self, queue: str, jobs: Iterable[WaitingJob]) -> None:
        """Note that these jobs wait no more."""
        for partition, taken in _by_partition(jobs).items():
            if (known := self._known.pop((queue, partition), None)) is None:
                continue
            lines = {job.line for job in taken}
            before = {line: sum(job.line == line for job in known.page.jobs) for line in lines}
            rest = tuple(job for job in known.page.jobs if job not in taken)
            left = {line: sum(job.line == line for job in rest) for line in lines}
            if any(before[line] >= known.each and not left[line] for line in lines):
                continue  # what of the line comes next was never seen
            page = replace(known.page, jobs=rest, count=max(0, known.page.count - len(taken)))
            if page.count and not rest:
                continue  # of lines that were not seen
            self._known[queue, partition] = replace(known, page=page)


def _by_partition(jobs: Iterable[WaitingJob]) -> dict[int, set[WaitingJob]]:
    found: dict[int, set[WaitingJob]] = {}
    for job in jobs:
        found.setdefault(job.partition, set()).add(job)
    return found
