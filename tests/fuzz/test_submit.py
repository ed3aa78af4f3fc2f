# A submit with any Python object in any argument is refused with a typed error and leaves the
# namespace as it was, byte for byte; or it makes a job that every reader reads back.

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import cast
from uuid import UUID

from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from everfold import Everfold, Policy
from everfold.archives.entry_check import EntryCheck
from everfold.contract.cloudevents import to_cloudevent
from everfold.projector.job.state import from_fields, to_fields
from everfold.projector.reading.queries import from_log
from everfold.projector.reading.verify import verify
from everfold.streams.appending.outcomes import Submission
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from everfold.submitting import SubmittedJob
from tests.everfold.client.odd_values import CYCLE, HUGE, Odd, OddZone, deep
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import DEEP, NUMBERS, SCALARS, TEXTS
from tests.streams.events.stored import everything


class Text(str):
    """A text of a caller's own type."""


class OddText(str):
    """A text that does not do as texts do."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__

    def encode(self, *_: object, **__: object) -> bytes:
        return b"\xff\x00"

    def __format__(self, _: str) -> str:
        return "{x} \n"


class Choice(StrEnum):
    HIGH = "high"


class Number(int):
    pass


class Lies(dict[str, object]):
    """An object that is another one each time it is asked."""

    def items(self) -> object:  # type: ignore[override]
        return iter([(1, 2)])

    def __len__(self) -> int:
        return 7


# By number: Hypothesis shows what it draws from, and some of these refuse to be shown.
_OWN: tuple[object, ...] = (
        *(b"x", bytearray(b"{}"), memoryview(b"{}"), {"x"}, 1j, Decimal(1), Odd(), CYCLE, HUGE),
        *(Text("x"), OddText("x"), Choice.HIGH, Number(3), Lies(a=1), UUID(int=7), object, print),
        *(datetime(2030, 1, 1), datetime.max, datetime(2030, 1, 1, tzinfo=OddZone()), Path("/dev")),
        *(Policy(), Policy(retries=cast("int", "x")), Policy(run_deadline_s=-1.0)),
    *(range(3), iter(())),
)  # fmt: skip
OWN = st.integers(0, len(_OWN) - 1).map(_OWN.__getitem__)
SIMPLE = SCALARS | OWN | DEEP.map(lambda one: deep(len(one.text) // 2))
OBJECTS = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(TEXTS | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=5,
)
NODES = st.fixed_dictionaries(
    {"class_type": st.just("EmptyImage") | OBJECTS, "inputs": st.just({}) | OBJECTS}
) | st.fixed_dictionaries(
    {"class_type": st.just("A"), "inputs": st.dictionaries(TEXTS, OBJECTS, max_size=3)}
)
GRAPHS = st.dictionaries(st.sampled_from(("1", "2", "x")) | TEXTS, NODES | OBJECTS, max_size=2)
GRAPH: dict[str, object] = {"1": {"class_type": "EmptyImage", "inputs": {"x": "a.png", "y": None}}}
NAMES = st.sampled_from(("default", "gpu")) | TEXTS
POLICIES = st.builds(
    Policy, retries=st.integers(0, 3) | OBJECTS, queue_deadline_s=st.none() | NUMBERS | OBJECTS
)


def mostly(right: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return right | right | right | right | OBJECTS


SHARED = {
    "kind": mostly(TEXTS),
    "user": mostly(st.sampled_from(("", "ada", "日本"))),
    "metadata": mostly(st.none() | st.dictionaries(TEXTS, OBJECTS, max_size=3)),
    "idempotency_key": mostly(st.none() | TEXTS),
    "queue": mostly(NAMES),
    "priority": mostly(st.sampled_from(("high", "normal", "low"))),
    "policy": mostly(st.none() | POLICIES),
}
WORKFLOWS = (
    st.just(GRAPH)
    | st.just(GRAPH)
    | mostly(GRAPHS | GRAPHS.map(lambda one: shown(one)) | st.text())
)
PLACES = st.sampled_from(("1.x", "1.y", "9.x", "1"))
FILES = st.dictionaries(
    PLACES | TEXTS | st.integers(),
    mostly(st.binary(max_size=9) | st.just("everfold:x") | TEXTS),
    max_size=2,
)
MOMENTS = mostly(st.none() | st.datetimes(timezones=st.none() | st.just(UTC)))


@dataclass
class Call:
    """One submit; what cannot be shown is shown by its type."""

    owner: str
    workflow: object
    given: Mapping[str, object]

    def __repr__(self) -> str:
        parts = {"workflow": self.workflow, **self.given}
        told = ", ".join(f"{name}={shown(value)}" for name, value in parts.items())
        return f"{self.owner}.submit({told})"


def shown(value: object) -> str:
    try:
        return repr(value)[:500]
    except Exception:
        return f"<{type(value).__name__}>"


CALLS = st.builds(
    Call,
    st.just("client"),
    WORKFLOWS,
    st.fixed_dictionaries(
        {}, optional={**SHARED, "run_at": MOMENTS, "inputs": mostly(st.none() | FILES)}
    ),
) | st.builds(
    Call,
    st.just("log"),
    WORKFLOWS,
    st.fixed_dictionaries(
        {}, optional={**SHARED, "run_at_ms": mostly(NUMBERS), "job_id": mostly(TEXTS)}
    ),
)


@fuzz(call=CALLS)
def test_a_submit_is_refused_or_read_back_by_every_reader(
    portal: BlockingPortal, everfold: Everfold, call: Call
) -> None:
    portal.call(submitted, everfold, call)


async def submitted(everfold: Everfold, call: Call) -> None:
    before = await everything(everfold.log)
    submit = everfold.submit if call.owner == "client" else everfold.log.submit
    made = await outcome(submit, call)
    if isinstance(made, EverfoldError):
        assert not isinstance(made, Unavailable), repr(made)
        assert 10 < len(str(made)) < 1000
        assert await everything(everfold.log) == before
    else:
        await assert_read(everfold, made)
        await clear(everfold)


async def outcome(submit: Callable[..., Awaitable[object]], call: Call) -> str | EverfoldError:
    """Return the id of the job that was made, or why there is none."""
    try:
        made = await submit(call.workflow, **call.given)
    except EverfoldError as error:
        return error
    assert isinstance(made, SubmittedJob | Submission)
    return made.job_id


async def assert_read(everfold: Everfold, job_id: str) -> None:
    """Let every reader read the only job."""
    log = everfold.log
    job = await everfold.get(job_id)
    assert job == await from_log(log, job_id)
    assert [each.job_id for each in (await everfold.list()).jobs] == [job_id]
    stored = {name.encode(): text.encode() for name, text in to_fields(job).items()}
    assert from_fields(stored) == job
    [record] = await everfold.events(job_id)
    json.dumps(str(to_cloudevent(record, "shop")))
    entries = await command(log.redis, "XRANGE", log.keys.log(0), "-", "+")
    [(entry_id, flat)] = cast("list[tuple[bytes, list[bytes]]]", entries)
    assert EntryCheck(0, 1, {}, allow_broken=False).fault((entry_id, flat)) == ""
    assert (await verify(log)).is_sound
    if not job.run_at_ms:
        [lease] = await Producer(log, "r", queues=[job.queue]).claim()
        assert (lease.job_id, lease.epoch) == (job_id, 1)
        assert await log.workflow(job_id, job.workflow)


async def clear(everfold: Everfold) -> None:
    """Delete all keys of the jobs, so that the next case does not read them all."""
    everfold.log.memory.clear()  # else they are put back
    keys = [key for key in await everything(everfold.log) if b"}" in key]
    await command(everfold.log.redis, "UNLINK", *keys)
