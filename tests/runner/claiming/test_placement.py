"""Which waiting job goes to which server: a table, laws, and two farms played out in no time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.decisions.placement import Plan, Server, Waiting, place

SLOTS = 2


def job(able: Sequence[int] = (0, 1), models: str = "", overtaken: int = 0) -> Waiting:
    return Waiting("job", able, models, overtaken)


FAST, SLOW = Server(2, 0, 1.0), Server(2, 0, 4.0)
FULL = Server(0, 2, 1.0)

TABLE: dict[str, tuple[list[Waiting], list[Server], tuple[tuple[int, int], ...]]] = {
    "the last job goes to the faster": ([job()], [SLOW, FAST], ((0, 1),)),
    "the last job waits for the faster": ([job()], [SLOW, FULL], ()),
    "not for one that is away": (
        [job()],
        [SLOW, Server(0, 0, 1.0, takes_jobs=False)],
        ((0, 0),),
    ),
    "not for one that cannot run it": ([job([0])], [SLOW, FAST], ((0, 0),)),
    "not for one of unknown pace": ([job()], [SLOW, Server(0, 2)], ((0, 0),)),
    "the slow one takes what the fast one would end later": (
        [job()] * 5,
        [SLOW, FULL],
        ((0, 0),),
    ),
    "a job that one server can run lets others pass": (
        [job([1]), job()],
        [Server(1), Server(0, 2)],
        ((1, 0),),
    ),
    "loaded models before speed": (
        [job(models="a")],
        [Server(1, 0, 1.0, "b"), Server(1, 0, 1.5, "a")],
        ((0, 1),),
    ),
    "speed before loaded models where it is worth it": (
        [job(models="a")],
        [Server(1, 0, 4.0, "a"), Server(1, 0, 1.0, "b")],
        ((0, 1),),
    ),
    "nothing loaded before others loaded": (
        [job(models="a")],
        [Server(1, 0, 1.0, "b"), Server(1, 0, 1.0)],
        ((0, 1),),
    ),
    "a job waits for its models while another job suits": (
        [job(models="a"), job(models="b")],
        [Server(0, 1, None, "a"), Server(1, 0, None, "b")],
        ((1, 1),),
    ),
    "but no server is left idle for that": (
        [job(models="a")],
        [Server(0, 1, None, "a"), Server(1, 0, None, "b")],
        ((0, 1),),
    ),
    "nor is a job overtaken for ever": (
        [job(models="a", overtaken=SLOTS), job(models="b")],
        [Server(0, 1, None, "a"), Server(1, 0, None, "b")],
        ((0, 1),),
    ),
    "a job without models goes to the faster whatever is loaded": (
        [job()],
        [SLOW, Server(1, 0, 1.0, "a")],
        ((0, 1),),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    jobs, servers, picks = TABLE[name]
    assert place(jobs, servers, len(jobs), SLOTS).picks == picks


@st.composite
def farms(draw: st.DrawFn) -> tuple[list[Waiting], list[Server]]:
    count = draw(st.integers(1, 4))
    pace = st.none() | st.sampled_from([0.0, 0.5, 1.0, 4.0])
    server = st.builds(
        Server,
        st.integers(0, 3),
        st.integers(0, 3),
        pace,
        st.sampled_from(["", "a", "b"]),
        st.booleans(),
    )
    able = st.sets(st.integers(0, count - 1)).map(sorted)
    overtaken = sorted(draw(st.lists(st.integers(0, SLOTS), max_size=12)), reverse=True)
    jobs = [job(draw(able), draw(st.sampled_from(["", "a", "b"])), times) for times in overtaken]
    return jobs, draw(st.lists(server, min_size=count, max_size=count))


@given(farms(), st.integers(0, 20), st.integers(1, 16))
def test_laws(farm: tuple[list[Waiting], list[Server]], unseen: int, most: int) -> None:
    jobs, servers = farm
    plan = place(jobs, servers, len(jobs) + unseen, SLOTS, most)

    taken = Counter(server for _, server in plan.picks)
    picked = [index for index, _ in plan.picks]
    assert len(picked) == len(set(picked)) <= most
    for index, server in plan.picks:
        assert server in jobs[index].able
    for server, count in taken.items():
        assert servers[server].takes_jobs
        assert count <= servers[server].room
    check_overtakes(jobs, plan)
    check_order(jobs, picked)
    if len(picked) < most:
        check_idle(jobs, servers, plan)


def check_overtakes(jobs: list[Waiting], plan: Plan) -> None:
    """No job is overtaken more often than there are slots."""
    for index, times in Counter(plan.overtaken).items():
        assert jobs[index].overtaken + times <= SLOTS


def check_order(jobs: list[Waiting], picked: list[int]) -> None:
    """Of jobs with equal needs the first come first."""
    for needs in {(tuple(one.able), one.models) for one in jobs}:
        alike = [n for n, one in enumerate(jobs) if (tuple(one.able), one.models) == needs]
        chosen = [index for index in picked if index in alike]
        assert chosen == alike[: len(chosen)]


def check_idle(jobs: list[Waiting], servers: list[Server], plan: Plan) -> None:
    """An idle server has no job only where faster ones can run all that it could."""
    used, picked = {server for _, server in plan.picks}, {index for index, _ in plan.picks}
    for s, server in enumerate(servers):
        if server.busy or not server.room or not server.takes_jobs or s in used:
            continue
        for index, one in enumerate(jobs):
            if index not in picked and s in one.able:
                others = [servers[t] for t in one.able if servers[t].takes_jobs and t != s]
                paces = [other.pace_s for other in others if other.pace_s is not None]
                assert server.pace_s is not None
                assert min(paces) <= server.pace_s * (2 if one.models else 1)


class Played:
    """A farm of two servers of two slots each that works until no job is left."""

    def __init__(self, paces: Sequence[float], models: Sequence[str]) -> None:
        self.started: list[list[int]] = [[] for _ in paces]
        self._waiting = list(range(len(models)))
        self._overtaken = Counter[int]()
        self._loaded = [""] * len(paces)
        self._pace: list[float | None] = [None] * len(paces)
        self._models = models
        self.order: list[int] = []
        held = [0] * len(paces)
        ends: list[tuple[float, int]] = []
        self.makespan_s, last = 0.0, [0.0] * len(paces)
        while self._waiting or ends:
            for server in self._give(held):
                last[server] = max(last[server], self.makespan_s) + paces[server]
                heapq.heappush(ends, (last[server], server))
            self.makespan_s, server = heapq.heappop(ends)
            held[server] -= 1
            self._pace[server] = paces[server]

    def _give(self, held: list[int]) -> list[int]:
        given = list[int]()
        while True:
            jobs = [job((0, 1), self._models[n], self._overtaken[n]) for n in self._waiting]
            servers = [
                Server(2 - busy, busy, pace, loaded)
                for busy, pace, loaded in zip(held, self._pace, self._loaded, strict=True)
            ]
            plan = place(jobs, servers, len(jobs), 4)
            self._overtaken.update(self._waiting[index] for index in plan.overtaken)
            if not plan.picks:
                return given
            for number, server in [(self._waiting[index], server) for index, server in plan.picks]:
                self.order.append(number)
                self._waiting.remove(number)
                self.started[server].append(number)
                self._loaded[server] = self._models[number] or self._loaded[server]
                held[server] += 1
                given.append(server)

    @property
    def switches(self) -> int:
        loads = [[self._models[number] for number in numbers] for numbers in self.started]
        return sum(a != b for one in loads for a, b in pairwise(one))


def test_the_last_jobs_of_a_batch_go_to_the_faster_server() -> None:
    played = Played((0.8, 3.2), [""] * 30)

    assert played.makespan_s <= 1.1 * 19.2
    assert sorted(played.order) == list(range(30))


@pytest.mark.parametrize("seed", range(20))
def test_two_models_on_two_servers_are_seldom_switched(seed: int) -> None:
    models = ["a", "b"] * 20
    random.Random(seed).shuffle(models)
    played = Played((1.0, 1.01), models)
    overtakes = [
        sum(later > number for later in played.order[:at]) for at, number in enumerate(played.order)
    ]

    assert max(overtakes) <= 4
    assert played.switches <= 4
