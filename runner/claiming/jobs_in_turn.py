"""The jobs of several pages in one order, of which only as many are made as a decision looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import merge
from itertools import islice

from everfold.runner.decisions.placement import Waiting
from everfold.streams.queues.waiting_jobs import PassedOver, WaitingJob, WaitingPage


class JobsInTurn:
    """The jobs of `pages` that are not passed over, as `row` describes them."""

    def __init__(
        self,
        pages: Sequence[WaitingPage],
        passed_over: PassedOver,
        row: Callable[[WaitingJob], Waiting],
    ) -> None:
        kept: list[Sequence[WaitingJob]] = [page.jobs for page in pages]
        if passed_over:
            kept = [[job for job in jobs if job not in passed_over] for jobs in kept]
        self._count = sum(map(len, kept))
        self._rest = merge(*kept)
        self._row = row
        self._jobs = list[WaitingJob]()
        self._rows = list[Waiting]()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Waiting:
        if index >= len(self._rows):
            made = list(islice(self._rest, index + 1 - len(self._rows)))
            self._jobs += made
            self._rows += map(self._row, made)
        return self._rows[index]

    def job(self, index: int) -> WaitingJob:
        """Return a job that was looked at."""
        return self._jobs[index]
