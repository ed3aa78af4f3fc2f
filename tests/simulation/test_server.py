"""The model of the scripts against the scripts themselves, on a real server."""

from __future__ import annotations

from random import Random

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease, Renewed
from everfold.streams.errors import (
    EverfoldError,
    Fenced,
    IdempotencyConflict,
    JobClosed,
    JobLeased,
    JobUnknown,
    WrongExpectedSequence,
)
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Event,
    Failure,
    Policy,
    Progressed,
    Released,
    Retried,
    Started,
    Submitted,
)
from everfold.streams.events.ids import new_id
from everfold.streams.events.record import Recorded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from tests.simulation.agenda import START_MS
from tests.simulation.server import Author, Server

pytestmark = pytest.mark.anyio

LANE = ("default", "normal")
GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}}}
PAST_MS, FUTURE_MS = 1, 99_999_999_999_999
NAMES: dict[type[EverfoldError], str] = {
    Fenced: "fenced",
    JobClosed: "closed",
    JobLeased: "leased",
    JobUnknown: "unknown",
    WrongExpectedSequence: "conflict",
}

ALL = {*NAMES.values(), "appended", "duplicate", "renewed", "canceling", "released"}
"""Every named outcome; a run of the test has seen each of them."""


class Both:
    """The same calls on the real server and on the model; each returns both answers."""

    def __init__(self, log: Log, random: Random) -> None:
        self._log, self._random = log, random
        self._now_ms = START_MS
        self.model = Server(self._time, self._ignore)
        self._dispatches = [Dispatch(log, name) for name in ("one", "two")]
        self._ids: list[str] = []
        self.leases: list[tuple[Lease, Lease]] = []
        """As the real server gave it, as the model did."""

    def _time(self) -> int:
        self._now_ms += 1
        return self._now_ms

    def _ignore(self, record: Recorded, author: Author, event_id: str) -> None:
        """The model would report each entry here."""

    async def any_call(self) -> tuple[object, object]:
        calls = (
            self._submit,
            self._append,
            self._append,
            self._claim,
            self._take_over,
            self._renew,
            self._release,
            self._promote,
        )
        return await self._random.choice(calls)()

    def _job(self) -> str:
        return f"job-{self._random.randint(1, 40)}"

    async def _submit(self) -> tuple[object, object]:
        job_id, due_ms = self._job(), self._random.choice((0, 0, PAST_MS, FUTURE_MS))
        try:
            real = await self._log.submit(GRAPH, job_id=job_id, run_at_ms=due_ms or None)
            is_new = real.created
        except IdempotencyConflict:
            is_new = False  # the same job for another time
        event = Submitted(
            kind="", user="", queue="default", priority="normal", workflow="", metadata={},
            policy=Policy(),
        )  # fmt: skip
        told = self.model.submit(job_id, new_id(), event, due_ms)
        return is_new, told[0] == "submitted"

    async def _append(self) -> tuple[object, object]:
        event_id = self._event_id()
        event, epoch, holder = self._event(event_id)
        job_id = self._job()
        if self.leases and self._random.random() < 0.7:
            lease = self._random.choice(self.leases[-6:])[0]
            job_id = lease.job_id
            if epoch > 0:
                epoch, holder = lease.epoch, lease.runner
        expected = self._random.choice((-1, -1, 3))
        told = self.model.append(job_id, event_id, event, epoch, holder, expected)
        try:
            real = await self._log.append(
                job_id, event, epoch=epoch, holder=holder, expected=expected
            )
        except EverfoldError as error:
            return NAMES[type(error)], told[0]
        return ("duplicate" if real.duplicate else "appended", real.seq), told[:2]

    def _event_id(self) -> str:
        if not self._ids or self._random.random() < 0.8:
            self._ids.append(new_id())
        return self._random.choice(self._ids[-3:])

    def _event(self, event_id: str) -> tuple[Event, int, str]:
        events: list[tuple[Event, int, str]] = [
            (CancelRequested(id=event_id, reason="enough"), 0, ""),
            (Progressed(id=event_id, attempt=1, value=0.5, nodes_done=0, nodes_total=1), 1, ""),
            (Started(id=event_id, attempt=1), 2, "one"),
            (Canceled(id=event_id), UNLEASED, ""),
            (Canceled(id=event_id), 3, "two"),
        ]
        return self._random.choice(events)

    async def _claim(self) -> tuple[object, object]:
        dispatch, most = self._random.choice(self._dispatches), self._random.randint(1, 3)
        real = await dispatch.claim(0, [LANE[0]], most)
        return self._note(real, self.model.claim(dispatch.runner, [LANE], most))

    async def _take_over(self) -> tuple[object, object]:
        dispatch = self._random.choice(self._dispatches)
        limit_ms = self._random.choice((0, 86_400_000))
        suspect, most = self._random.choice(("", "", "one")), self._random.choice((1, 500))
        if suspect == dispatch.runner:
            suspect = ""
        cursor, real = await dispatch.take_over(
            0, LANE, idle_limit_s=limit_ms / 1000, suspect=suspect, most=most
        )
        end, told = self.model.take_over(dispatch.runner, LANE, limit_ms, 0, suspect, most)
        real_jobs, told_jobs = self._note(real, told)
        return (cursor == "-", real_jobs), (end == 0, told_jobs)

    def _note(self, real: list[Lease], told: list[Lease]) -> tuple[object, object]:
        self.leases += zip(real, told, strict=False)
        return _facts(real), _facts(told)

    async def _renew(self) -> tuple[object, object]:
        if not self.leases:
            return None, None
        lease, told = self._random.choice(self.leases[-6:])
        dispatch = next(one for one in self._dispatches if one.runner == lease.runner)
        (real,) = await dispatch.renew([lease])
        (name, *_) = self.model.renew(told.runner, [told])[0]
        if isinstance(real, Renewed):
            return "canceling" if real.canceling else "renewed", name
        return "fenced", name

    async def _release(self) -> tuple[object, object]:
        if not self.leases:
            return None, None
        lease, told = self._random.choice(self.leases[-6:])
        dispatch = next(one for one in self._dispatches if one.runner == lease.runner)
        event = Released(id=self._event_id(), reason="drain")
        later = Retried(
            id=event.id,
            attempt=1,
            failure=Failure(code="out_of_memory", message=""),
            not_before_ms=self._random.choice((PAST_MS, FUTURE_MS)),
        )
        chosen = self._random.choice((event, later))
        due_ms = chosen.not_before_ms if isinstance(chosen, Retried) else 0
        outcome = self.model.release(told, chosen.id, chosen, due_ms)
        try:
            real = await dispatch.release(lease, chosen)
        except EverfoldError as error:
            return NAMES[type(error)], outcome[0]
        return ("duplicate" if real.duplicate else "released", real.seq), outcome[:2]

    async def _promote(self) -> tuple[object, object]:
        return (await self._dispatches[0].promote(0)).promoted, self.model.promote()[0]

    async def histories(self) -> tuple[object, object]:
        real = {job_id: await job_events(self._log, job_id) for job_id in self.model.records}
        return _history(real), _history(self.model.records)


def _facts(leases: list[Lease]) -> list[tuple[str, str, int, int]]:
    return [(lease.job_id, lease.runner, lease.epoch, lease.seq) for lease in leases]


def _history(records: dict[str, list[Recorded]]) -> dict[str, list[tuple[int, int, str]]]:
    return {
        job_id: [(record.seq, record.epoch, type(record.event).__name__) for record in found]
        for job_id, found in records.items()
    }


@pytest.mark.parametrize("seed", range(6))
async def test_the_model_answers_every_call_as_the_scripts_do(
    redis_url: str, namespace: str, seed: int
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        both = Both(log, Random(seed))
        seen = set[str]()
        for number in range(400):
            real, told = await both.any_call()
            assert told == real, f"call {number}"
            seen |= {
                name for name in ALL if real == name or (isinstance(real, tuple) and name in real)
            }
        real, told = await both.histories()
        assert told == real
        assert seen == ALL
        assert len(both.leases) > 10
