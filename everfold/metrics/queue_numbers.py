"""The queues of a namespace in numbers, read in few calls, however many jobs and queues there are.

Rule: QUEUES_LIMIT queues are looked at, those first that runners serve. Queues are made up by
whoever submits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from everfold.client import Everfold
from everfold.operations import BackendStatus, RunnerStatus
from everfold.projector.folding.run_times import read_run_times
from everfold.queue_operations import queue_names
from everfold.streams.queues.queue_control import paused_queues
from everfold.streams.queues.queue_counts import WaitingCount, count_held, count_waiting
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.server import server_time_ms

QUEUES_LIMIT = 1_000

UNSEEN_S = 10.0
"""A backend that no runner has reached for so long is down, a runner that was silent is gone."""


class QueueNumbers(Struct, frozen=True, kw_only=True):
    """One queue. Counts of jobs are by priority, in the order of PRIORITIES."""

    name: str
    waiting: tuple[int, ...]
    leased: tuple[int, ...]
    oldest_s: float
    """How long ago the oldest of the jobs that stand first was submitted, 0 without any."""
    runners: frozenset[str]
    """Names of those that serve it and do not drain."""
    servers: int
    """Backends that take jobs of it now."""
    is_paused: bool
    run_s: float | None
    """How long its jobs run, as it was learned; None while nobody knows."""

    @property
    def backlog_s(self) -> float | None:
        """Seconds until what waits has begun, if the servers of now work it off.

        Without any server as long as one would take. None while nobody knows how long jobs run.
        """
        if not sum(self.waiting):
            return 0.0
        return None if self.run_s is None else sum(self.waiting) * self.run_s / max(1, self.servers)


class Queues(Struct, frozen=True, kw_only=True):
    """All queues of a namespace, as far as they are looked at."""

    by_name: Mapping[str, QueueNumbers]
    count: int
    """How many there are."""
    at_ms: int = 0
    """Server time before they were read, Unix ms."""


async def read_queues(
    everfold: Everfold,
    backends: Iterable[BackendStatus],
    runners: Sequence[RunnerStatus],
    only: str = "",
) -> Queues:
    """Read the queues, or one; runners and backends as they were read just now.

    Raises a leaf of Unavailable.
    """
    log = everfold.log
    living = [one for one in runners if one.unseen_s < UNSEEN_S and not one.is_draining]
    up = Counter(one.title or one.name for one in backends if is_up(one))
    paused = await paused_queues(log)
    served = sorted({queue for one in living for queue in one.queues})
    names = [*dict.fromkeys((*served, *sorted(paused), *sorted(await queue_names(log))))]
    shown = [name for name in names if name == only] if only else names[:QUEUES_LIMIT]
    now_ms = await server_time_ms(log.redis)
    waiting, held = await count_waiting(log, shown), await count_held(log, shown)
    run_times = await read_run_times(log)
    found = dict[str, QueueNumbers]()
    for name in shown:
        count, serving = waiting[name], [one for one in living if name in one.queues]
        found[name] = QueueNumbers(
            name=name,
            waiting=count.by_priority,
            leased=held.get(name, (0,) * len(PRIORITIES)),
            oldest_s=_age_s(count, now_ms),
            runners=frozenset(one.name for one in serving),
            servers=_servers(serving, up),
            is_paused=name in paused,
            run_s=run_times[name].mean_s if name in run_times else None,
        )
    return Queues(by_name=found, count=len(names), at_ms=now_ms)


def is_up(one: BackendStatus) -> bool:
    """Say whether a backend was reached lately, and takes jobs."""
    return one.unseen_s < UNSEEN_S and not (one.why or one.retired_by or one.drained_by)


def _servers(serving: Iterable[RunnerStatus], up: Mapping[str, int]) -> int:
    """Count the backends of these runners that take jobs; `up` counts those that do by name.

    An address such as 127.0.0.1:8188 is another server on each host.
    """
    hosts = defaultdict[str, set[str]](set)
    for one in serving:
        for backend in one.backends:
            hosts[backend].add(one.host)
    return sum(min(up.get(backend, 0), len(found)) for backend, found in hosts.items())


def _age_s(count: WaitingCount, now_ms: int) -> float:
    return max(0.0, (now_ms - count.first_ms) / 1000) if count.first_ms else 0.0
