"""The jobs that wait for a runner: which stand first, how many there are, where one of them stands.

Rule: a job's place is its priority and its turn (lua/include/places.lua). Places of all partitions
compare; of two jobs at one place, the one with the lesser id comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.redis.each import each as in_each
from everfold.streams.redis.each import each_together
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.script import Script

_peek_waiting = Script("everfold.streams", "peek_waiting", is_read_only=True)

LINES_AT_ONCE = 64
"""Lines of a partition that one call looks at."""


class WaitingJob(Struct, frozen=True, order=True):
    """A job that waits; the order of these values is that in which jobs are taken."""

    place: int
    job_id: str
    partition: int
    line: str
    """Jobs of one line can be taken, or cannot, together."""

    @property
    def signature(self) -> str:
        """Of what it needs of a server; see events/needs.py."""
        return _signature_of(self.line)


@lru_cache(maxsize=4096)
def _signature_of(line: str) -> str:
    return line.partition(" ")[0].strip("-")


class PassedOver:
    """The lines that one round of claims passes over.

    One of which the server says that it is at a limit, and one of which one job was missed twice:
    that job is, too. What was missed once, another runner may have taken: a job behind it is no
    substitute, because one of another partition may stand before that.
    """

    def __init__(self) -> None:
        self._missed: set[str] = set()
        self._lines: set[tuple[int, str]] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, job: WaitingJob) -> bool:
        return (job.partition, job.line) in self._lines

    def note_missed(self, jobs: Iterable[WaitingJob]) -> bool:
        """Note jobs asked for and not leased; say whether a further line is passed over now."""
        before = len(self._lines)
        for job in jobs:
            if job.job_id in self._missed:
                self._lines.add((job.partition, job.line))
            self._missed.add(job.job_id)
        return len(self._lines) > before

    def note_full(self, jobs: Iterable[WaitingJob]) -> None:
        """Note jobs that the server says are at a limit."""
        self._lines.update((job.partition, job.line) for job in jobs)


class WaitingPage(Struct, frozen=True, dict=True):
    """What one look at a partition's waiting jobs found."""

    partition: int
    count: int
    """All that wait there."""
    next: int
    """Rank of the line with which the next page begins, 0 at the end."""
    jobs: tuple[WaitingJob, ...]
    """The first of each line, in their order."""

    @cached_property
    def firsts(self) -> tuple[WaitingJob, ...]:
        """The first job of each line."""
        return tuple({job.line: job for job in reversed(self.jobs)}.values())


async def peek_pages(
    log: Log, first: Mapping[int, int], queue: str, *, each: int = 16
) -> dict[int, WaitingPage]:
    """Look at LINES_AT_ONCE lines of each partition from a rank on, `each` jobs of every line.

    The partitions are all on one server, or one is asked alone. Of a paused queue only the count is
    told. Raises a leaf of Unavailable, without a retry.
    """
    keys = [(log.keys.lines(p, queue), log.keys.waiting(p, queue)) for p in first]
    reply = await _peek_waiting.run(
        log.redis,
        [key for pair in keys for key in pair],
        (queue, LINES_AT_ONCE, each, *first.values()),
    )
    rows = cast("list[tuple[int, int, *tuple[list[bytes], ...]]]", reply[1:])
    return {partition: _page(partition, *row) for partition, row in zip(first, rows, strict=True)}


def _page(partition: int, count: int, rank: int, *lines: list[bytes]) -> WaitingPage:
    jobs = sorted(job for line in lines for job in _jobs(line, partition))
    return WaitingPage(partition, count, rank, tuple(jobs))


def _jobs(line: list[bytes], partition: int) -> Iterable[WaitingJob]:
    name, *rest = (part.decode(errors="replace") for part in line)
    for job_id, place in zip(rest[::2], rest[1::2], strict=True):
        yield WaitingJob(int(float(place)), job_id, partition, name)


async def peek_all(
    log: Log, partitions: Collection[int], queue: str, *, each: int = 16
) -> list[WaitingPage]:
    """Look at the first page of several partitions, side by side. Raises as `peek_pages`."""

    async def look(asked: Sequence[int]) -> dict[int, WaitingPage]:
        return await peek_pages(log, dict.fromkeys(asked, 0), queue, each=each)

    return (await each_together(log, look, partitions)).all()


async def peek_past(
    log: Log, partitions: Collection[int], queue: str, passed_over: PassedOver, *, each: int = 16
) -> list[WaitingPage]:
    """Look at the first page of each partition of which not all is passed over, else the last one.

    Raises as `peek_pages` does.
    """
    ranks, found = dict.fromkeys(partitions, 0), dict[int, WaitingPage]()

    async def look(asked: Sequence[int]) -> dict[int, WaitingPage]:
        return await peek_pages(log, {p: ranks[p] for p in asked}, queue, each=each)

    while ranks:
        pages = (await each_together(log, look, ranks)).all()
        found |= {page.partition: page for page in pages}
        done = [page for page in pages if not all(job in passed_over for job in page.jobs)]
        ranks = {page.partition: page.next for page in pages if page.next and page not in done}
    return list(found.values())


def in_order(pages: Iterable[WaitingPage]) -> list[WaitingJob]:
    """Return the jobs of these pages in the order in which they are to be taken."""
    return sorted(job for page in pages for job in page.jobs)


async def first_fields(log: Log, queue: str, *fields: str) -> list[list[bytes | None]]:
    """Return these fields of the heads of the jobs that stand first in each line of a queue.

    Raises a leaf of Unavailable.
    """
    pages = await peek_all(log, range(log.keys.partitions), queue, each=1)
    heads = [log.keys.head(job.job_id) for page in pages for job in page.jobs]
    found = await commands(log.redis, [("HMGET", head, *fields) for head in heads])
    return cast("list[list[bytes | None]]", found)


SAME_PLACE_LIMIT = 1000
"""Jobs of a partition at one place that are told apart by their ids."""

Waiting = tuple[str, bytes]
"""The queue in which a job waits, and its place there, as its head says it."""

WAITING_FIELDS = ("phase", "queue", "place")
"""Fields of a job's head that `waiting_of` reads."""


def waiting_of(fields: Sequence[bytes | None]) -> Waiting | None:
    """Return where a job waits, by the WAITING_FIELDS of its head; None for another one."""
    phase, queue, place = fields
    if phase != b"waiting" or not (place and place.isdigit()):
        return None
    return (queue or b"").decode(errors="replace"), place


def count_commands(keys: Keyspace, waiting: Waiting) -> list[tuple[Argument, ...]]:
    """Return the commands whose answers `jobs_before` counts."""
    queue, place = waiting
    sets = [keys.waiting(partition, queue) for partition in range(keys.partitions)]
    before = [("ZCOUNT", key, "-inf", b"(" + place) for key in sets]
    beside = [("ZRANGEBYSCORE", key, place, place, "LIMIT", 0, SAME_PLACE_LIMIT) for key in sets]
    return [*before, *beside]


def jobs_before(answers: Sequence[object], job_id: str) -> int:
    """Return how many jobs stand before this one, by the answers to `count_commands`."""
    middle = len(answers) // 2
    beside = [other for found in answers[middle:] for other in cast("list[bytes]", found)]
    return sum(cast("Sequence[int]", answers[:middle])) + sum(
        other < job_id.encode() for other in beside
    )


async def position(log: Log, job_id: str) -> int | None:
    """Return how many jobs of its queue stand before a job that waits; None for another one.

    Exact at some moment during the call. Raises a leaf of Unavailable.
    """
    asked = ("HMGET", log.keys.head(job_id), *WAITING_FIELDS)
    waiting = waiting_of(cast("list[bytes | None]", await command(log.redis, *asked)))
    if waiting is None:
        return None
    return jobs_before(await commands(log.redis, count_commands(log.keys, waiting)), job_id)


async def queue_length(log: Log, queue: str) -> int:
    """Return how many jobs of a queue wait. Raises a leaf of Unavailable."""

    async def count(partition: int) -> int:
        return cast("int", await command(log.redis, "ZCARD", log.keys.waiting(partition, queue)))

    return sum((await in_each(log, count)).all())
