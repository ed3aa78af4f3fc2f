"""Every script does all of its work or writes nothing, whatever is wrong with keys and rights.

Rule: a new script fails here until script_states.py has a state for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import BrokenHead, EverfoldError, JobLeased
from everfold.streams.events.event import CancelRequested, Failure, Progressed, Retried, Rewound
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import assemble
from everfold.streams.retention.trimming import trim
from tests.architecture.source_tree import ROOT
from tests.projector import script_states as of_projector
from tests.streams.appending import append_states as of_append
from tests.streams.assets import asset_states as of_assets
from tests.streams.assets import user_file_states as of_user_files
from tests.streams.layout import layout_states as of_layout
from tests.streams.queues import work_states as of_work
from tests.streams.scripts import script_states as of_streams
from tests.support import servers
from tests.support.script_commands import script_commands
from tests.support.server_choice import ServerChoice
from tests.support.servers import StartServer
from tests.support.trouble.script_faults import FaultBench, faults, recorded_calls, send

pytestmark = [pytest.mark.anyio, pytest.mark.server, pytest.mark.one_server]

OF_ALL = (of_streams, of_append, of_assets, of_user_files, of_work, of_projector, of_layout)
STATES = {
    name: [state for one in OF_ALL for state in one.STATES.get(name, ())]
    for name in {name for one in OF_ALL for name in one.STATES}
}
SHARED = ROOT / "streams" / "lua"


def _is_script(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return path.parent.name != "include" and not any(part[0] == "." for part in parts)


SCRIPTS = sorted(filter(_is_script, ROOT.rglob("*.lua")))


@pytest.fixture(scope="module")
def bench(server_choice: ServerChoice) -> Iterator[FaultBench]:
    assert server_choice.engine is not None
    with servers.own_server(server_choice.engine, appendonly="no") as server:
        bench = FaultBench(server)
        yield bench
        bench.close()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
async def test_a_script_does_all_or_writes_nothing(bench: FaultBench, script: Path) -> None:
    source = assemble(script.stem, (script.parent, SHARED))
    assert script.stem in STATES, "add states to script_states.py, in which it does all it can"
    used: set[str] = set()
    complaints: list[str] = []
    for state in STATES[script.stem]:
        send(bench.admin, "FLUSHALL")
        with recorded_calls(bench.admin, source) as calls:
            partitions = of_append.PARTITIONS.get(state, 1)
            async with Log.open(bench.url, namespace="x", partitions=partitions) as log:
                log.retry_for_s = 0.0
                await state(log)
        if not calls and log.keys.is_spread:
            pytest.skip("in the spread layout it is not sent")
        call = calls[-1]
        whole = bench.traced(call)
        used |= whole.names
        for fault in list(faults(bench.admin, call, whole)):
            complaint = bench.complaint(call, whole, fault)
            complaints += [f"{state.__name__}: {complaint}"] if complaint else []
    assert complaints == []
    if not log.keys.is_spread:  # there no script counts what runs
        unused = script_commands(source, bench.commands) - used
        assert unused == set(), "no state makes it send these"


GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]
NORMAL = ("default", "normal")
JOB = "job-1"
RETRIED = Retried(attempt=1, failure=Failure(code="x", message="y"), not_before_ms=2**41)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        log.retry_for_s = 0.0
        yield log


async def prepare(log: Log) -> Lease:
    """One job leased to r1, another that waits."""
    await log.submit(GRAPH, job_id=JOB)
    [lease] = await Dispatch(log, "r1").claim(0, QUEUES, 1)
    await log.submit(GRAPH, job_id="waiting")
    return lease


async def test_a_hint_that_may_not_be_published_does_not_stop_a_submit(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="x", partitions=1) as log:
        await command(log.redis, "ACL SETUSER", "default", "resetchannels", "-publish")
        assert (await log.submit(GRAPH)).created


async def test_a_broken_head_fails_its_own_event_only(log: Log) -> None:
    jobs = [(await log.submit(GRAPH)).job_id for _ in range(10)]
    head = log.keys.head(jobs[4])
    await command(log.redis, "DEL", head)
    await command(log.redis, "SET", head, "x")

    async def outcome(job_id: str) -> object:
        try:
            return await log.append(job_id, CancelRequested(), epoch=0)
        except EverfoldError as error:
            return type(error)

    found = await asyncio.gather(*map(outcome, jobs))
    assert found[4] is BrokenHead
    assert BrokenHead not in found[:4] + found[5:]


async def test_what_needs_a_lease_is_refused_without_one(log: Log) -> None:
    await prepare(log)
    event = Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1)
    with pytest.raises(JobLeased):
        await log.append(JOB, event, epoch=0)
    await log.append(JOB, Rewound(seen_seq=4, found_seq=2), epoch=0)
    first = await log.append(JOB, CancelRequested(), epoch=0)
    again = await log.append(JOB, CancelRequested(reason="impatient"), epoch=0)
    assert (again.seq, again.entry_id, again.duplicate) == (first.seq, first.entry_id, True)


async def test_an_append_is_stored_once_however_late_it_is_repeated(log: Log) -> None:
    await prepare(log)
    event = log.stamp(Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1))
    first = await log.append(JOB, event, epoch=1)
    for number in range(40):
        rewound = Rewound(seen_seq=4, found_seq=2, actor=f"other{number}")
        await log.append(JOB, rewound, epoch=0)
        other = Progressed(attempt=1, value=0.5, nodes_done=number, nodes_total=1)
        await log.append(JOB, other, epoch=1)
    again = await log.append(JOB, event, epoch=1)
    assert (again.seq, again.entry_id, again.duplicate) == (first.seq, first.entry_id, True)
    late = Progressed(id=event.id[:-1] + "!", attempt=1, value=0.1, nodes_done=0, nodes_total=1)
    assert not (await log.append(JOB, late, epoch=1)).duplicate


async def test_a_job_that_moves_while_it_is_trimmed_keeps_its_events(log: Log) -> None:
    await Dispatch(log, "r1").release(await prepare(log), RETRIED)
    told = await trim(log, 0, 0, needs_archive=False)
    assert (told.count, told.held_by) == (0, "an open, parked or held job")


async def test_a_job_to_be_canceled_does_not_wait_for_its_retry(log: Log) -> None:
    lease = await prepare(log)
    await log.append(JOB, CancelRequested(), epoch=0)
    await Dispatch(log, "r1").release(lease, RETRIED)
    _, [taken] = await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=9)
    assert taken.job_id == JOB
