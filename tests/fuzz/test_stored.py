# Whatever bytes stand in a field of a stored hash, every reader returns, or raises an error that
# says the log holds what cannot be read.

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import msgspec
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st
from msgspec import Struct

from everfold import Everfold, Started
from everfold.client import to_json
from everfold.projector.folding.parking import Parked, Skip, blocked_jobs, parked_jobs
from everfold.projector.job.job import Job
from everfold.projector.job.state import to_fields
from everfold.projector.reading.lag import checkpoints, lag
from everfold.projector.reading.queries import current
from everfold.projector.reading.verify import verify
from everfold.projector.subscribing.delivery import Filter
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.status import (
    description_of,
    held_job,
    held_jobs,
    subscription_status,
    subscriptions,
)
from everfold.projector.subscribing.subscription import Description
from everfold.streams.appending.memory.lost_writes import LostWrites, lost_writes
from everfold.streams.errors import CorruptLog, Refused, Unknown
from everfold.streams.leases.backends import (
    Abandoned,
    BackendEntry,
    Mark,
    abandoned_prompts,
    backend_entries,
    configured_names,
    forget_old,
    given_up_attempts,
)
from everfold.streams.leases.levels import upgrade_status
from everfold.streams.leases.producer import Producer
from everfold.streams.leases.registry import (
    ProcessEntry,
    RunnerEntry,
    living_processes,
    registered_runner,
    registered_runners,
)
from everfold.streams.reading.readers import Reader, readers, trimmed_to
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server_watch import ServerRun
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import VALUES, changed, dump, spoiled
from tests.projector.jobs import GRAPH
from tests.streams.events.stored import everything

EXAMPLES: dict[str, tuple[str, Struct]] = {
    "runners": ("r", RunnerEntry(
        runner="r", host="h", pid=1, queues=("default",), backends=("http://h:1",), since_ms=5,
    )),
    "processes": ("p", ProcessEntry(kind="projector", host="h", pid=1, seen_ms=5)),
    "backends": ("http://h:1", BackendEntry(name="http://h:1", seen_ms=5, by="r", host="h")),
    "retired": ("http://h:1", Mark(actor="a", at_ms=5)),
    "given_up": ("J", Mark(actor="a", at_ms=5, attempt=1)),
    "abandoned": ("P", Abandoned(
        backend="b", job_id="J", attempt=1, prompt_id="P", client_id="c", since_ms=5,
    )),
    "subscriptions": ("s", Description(Filter(types=("job.failed",)), "x", 5)),
    "lost_writes": ("J", LostWrites("J", 5, 4)),
    "servers": ("r", ServerRun("h:1", 5, "i", 7, 9, "q", 3, 2, 4)),
    "readers": ("archive", Reader("5-0", required=True)),
    "parked": ("J", Parked(3, "5-0", "why", 5)),
    "skipped": ("5-0", Skip("J", 3, "why", "a", 5)),
    "held": ("J", Held(seq=3, entry_id="5-0", at_ms=5, why="x")),
}  # fmt: skip
"""Hash of JSON values -> a field of it."""

PLAIN = {
    "projector": ("owner", "until_ms", "checkpoint", "folded", "epoch"),
    "checkpoint": ("owner", "until_ms", "checkpoint", "began", "delivered", "failed", "left_out"),
    "trimmed": ("to", "count"),
    "clock": ("at_ms", "set_ms", "run_id", "uptime_s"),
    "workflows": ("0" * 64,),
    "head": (
        *("seq", "epoch", "last", "first", "status", "phase", "owner", "workflow", "queue"),
        *("priority", "made_by", "recent", "dispatch", "crashes", "cancel", "blocked"),
    ),
    "job": tuple({**to_fields(Job(seq=1)), **dict.fromkeys(Job.__struct_fields__, "")}),
}
"""Hash of plain texts -> its fields."""

TEXTS = st.sampled_from(
    (b"", b"-1", b"x", b"1.5", b"1e999", b"nan", b"\xff", b"9" * 20, b"9" * 400, b"[" * 500)
) | st.binary(max_size=12)  # fmt: skip
NAMES = st.just(b"") | st.binary(max_size=6)
JSON = st.sampled_from(sorted(EXAMPLES)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.just(EXAMPLES[name][0].encode()) | NAMES,
        spoiled(changed([msgspec.to_builtins(EXAMPLES[name][1])], VALUES).map(dump)) | TEXTS,
    )
)
FIELDS = JSON | JSON | st.sampled_from(sorted(PLAIN)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from([field.encode() for field in PLAIN[name]]), TEXTS
    )
)  # fmt: skip


class Namespace:
    """One with a leased job, and its keys as they were before a case."""

    def __init__(self, everfold: Everfold) -> None:
        self.everfold, self.log = everfold, everfold.log
        self.job_id = ""
        self.before: dict[bytes, bytes] = {}

    async def make(self) -> None:
        self.job_id = (await self.everfold.submit(GRAPH)).job_id
        producer = Producer(self.log, "r")
        [lease] = await producer.claim()
        await producer.append(lease, Started(attempt=1))
        self.before = cast("dict[bytes, bytes]", await everything(self.log))

    def key(self, name: str) -> str:
        keys = self.log.keys
        match name:
            case "head" | "job":
                return cast("str", getattr(keys, name)(self.job_id))
            case "held" | "checkpoint":
                return cast("str", getattr(keys.subscription(0, "s"), name)())
            case "readers" | "parked" | "skipped" | "projector" | "trimmed" | "clock" | "workflows":
                return cast("str", getattr(keys, name)(0))
        return cast("str", getattr(keys, name)())

    async def restore(self) -> None:
        now = await everything(self.log)
        for key in now.keys() | self.before.keys():
            if now.get(key) != self.before.get(key):
                # In one command: what was submitted is put back where its log is gone.
                if key in self.before:
                    await command(self.log.redis, "RESTORE", key, 0, self.before[key], "REPLACE")
                else:
                    await command(self.log.redis, "DEL", key)

    def reads(self) -> Iterator[Callable[[], Awaitable[object]]]:
        log, everfold, job = self.log, self.everfold, self.job_id
        whole = (
            *(registered_runners, living_processes, backend_entries, forget_old),
            *(given_up_attempts, abandoned_prompts, subscriptions, lost_writes, parked_jobs),
            *(blocked_jobs, lag, checkpoints, upgrade_status, verify),
        )
        yield from (lambda read=read: read(log) for read in whole)
        for read in (description_of, held_jobs, subscription_status):
            yield lambda read=read: read(log, "s")  # type: ignore[misc]
        yield from (lambda read=read: read(log, 0) for read in (readers, trimmed_to))
        yield lambda: held_job(log, "s", "J")
        yield lambda: registered_runner(log, "r")
        for call in (everfold.get, everfold.events, everfold.outputs, everfold.cancel):
            yield lambda call=call: call(job)  # type: ignore[misc]
        yield from (everfold.list, everfold.backends)
        yield lambda: current(log, job)


@pytest.fixture(scope="module")
def made(portal: BlockingPortal, everfold: Everfold) -> Namespace:
    namespace = Namespace(everfold)
    portal.call(namespace.make)
    return namespace


@fuzz(fields=st.lists(FIELDS, min_size=1, max_size=4))
def test_whatever_a_hash_holds_its_readers_return(
    portal: BlockingPortal, made: Namespace, fields: list[tuple[str, bytes, bytes]]
) -> None:
    portal.call(assert_read, made, fields)


async def assert_read(made: Namespace, fields: list[tuple[str, bytes, bytes]]) -> None:
    for name, field, text in fields:
        await command(made.log.redis, "HSET", made.key(name), field, text)
    try:
        for read in made.reads():
            with contextlib.suppress(CorruptLog, Refused, Unknown):
                msgspec.json.encode(plain(await read()))
        runners = await registered_runners(made.log)
        configured_names(runners.values(), await backend_entries(made.log))
    finally:
        await made.restore()


def plain(found: object) -> object:
    return to_json(found) if isinstance(found, Job) else found
