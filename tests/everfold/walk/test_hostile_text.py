"""Text from outside acts nowhere: every command is run over jobs, runners and backends full of it.

The log is written past the checks of submit, as a program in another language may do.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from everfold.commands.app import ALIASES
from everfold.streams.appending.log import Log
from everfold.streams.appending.submitting import NewJob, write_job
from everfold.streams.events import event as events
from everfold.streams.events.workflow_check import CheckedWorkflow
from everfold.streams.leases.backends import BackendEntry
from everfold.streams.leases.producer import Producer
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from tests.everfold.walk.calls import command_lines, walked
from tests.everfold.walk.walker import Call, Shown, Walk
from tests.projector.jobs import add_raw, caught_up, projecting
from tests.support.programs.programs import StartProgram
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

TEXT = "|".join(
    [
        "\x1b]0;owned\x07\x1b[2J",
        "\x9b2J\x85\x00",
        "first\nsecond\r\nthird\x0b",
        "\u202egnp.exe\u2066\u200b\u2028\U000e0041",
        "[b]bold[/b][/nope][link=file:///etc]x[/link]",
        ":x: :skull:",
        "%s %d {0} {x} <script>&\"'",
    ]
)
LONG = "y" * 50_000
GRAPH = b'{"1":{"class_type":"A","inputs":{}}}'
FAILURE = events.Failure(
    code=TEXT,
    message=TEXT + LONG,
    node=TEXT,
    node_class=TEXT,
    details=[events.NodeProblem(node=TEXT, node_class=TEXT, code=TEXT, message=TEXT, input=TEXT)],
)
FILES = {TEXT: [{"filename": TEXT, "subfolder": TEXT, "type": TEXT}], "text": [TEXT]}
ENDS: dict[str, events.Terminal | None] = {
    "failed": events.Failed(attempt=1, failure=FAILURE),
    "succeeded": events.Succeeded(attempt=1, outputs={TEXT: FILES}),
    "canceled": events.Canceled(attempt=1, reason=TEXT),
    "open": None,
}
LEFT_OUT = {"demo", "simulator", "config", "schema", "acl"}
"""They read nothing of the namespace."""

UNTIL_A_SIGNAL = {"up", "runner", "serve", "metrics", "sink"}
"""They are run once, not in each mode: each takes its whole time."""

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
CODES = {0, 1, 2, 3, 4, 130, -15}


async def submit(log: Log, job_id: str) -> None:
    """Submit past the checks."""
    event = log.stamp(
        events.Submitted(
            kind=TEXT,
            user=TEXT,
            queue="default",
            priority="normal",
            workflow=hashlib.sha256(GRAPH).hexdigest(),
            metadata={TEXT: TEXT},
            policy=events.Policy(),
        )
    )
    new = NewJob(job_id, event, CheckedWorkflow(GRAPH, event.workflow), {})
    await write_job(log, new, log.encoded(event))


async def live(log: Log) -> None:
    """Let the waiting jobs live through all kinds of events."""
    producer = Producer(log, "runner")
    for lease in await producer.claim(most=100):
        for event in (
            events.Submitting(
                attempt=1, backend=TEXT, boot=TEXT, prompt_id="p", client_id=TEXT, server=TEXT
            ),
            events.Queued(attempt=1, prompt_id="p", problems=FAILURE.details),
            events.Started(attempt=1),
            events.Progressed(
                attempt=1, value=0.5, nodes_done=1, nodes_total=2, node=TEXT, node_class=TEXT
            ),
            events.OutputSaved(attempt=1, node=TEXT, output=FILES),
            events.CancelRequested(reason=TEXT),
        ):
            await producer.append(lease, event)
        if end := ENDS.get(lease.job_id):
            await producer.finish(lease, end)


async def surroundings(log: Log) -> None:
    """Register a runner and a backend, and let a job be parked."""
    now_ms = await server_time_ms(log.redis)
    entry = RunnerEntry(
        runner=TEXT,
        host=TEXT,
        pid=1,
        queues=(TEXT, "default"),
        backends=(TEXT,),
        since_ms=now_ms,
        instance=TEXT,
        seen_ms=now_ms,
        version=TEXT,
        reaches=(TEXT,),
    )
    await register_runner(log, entry)
    backend = BackendEntry(
        name=TEXT, seen_ms=now_ms, by=TEXT, is_reached=False, why=TEXT, server=TEXT, host=TEXT
    )
    await command(log.redis, "HSET", log.keys.backends(), TEXT, msgspec.json.encode(backend))
    await add_raw(log, "parked", 2, msgspec.json.encode({"type": TEXT, "id": TEXT, "v": 1}))


MODES = ("pipe", "terminal", "json")


def calls(folder: Path, *, are_all: bool) -> Iterator[Call]:
    """Yield every command that reads: in a pipe, in a terminal, and with --json.

    One of a job is called for each job, in each mode in full length, else in one of them in turn:
    so each command has each mode and each job, and each job each mode.
    """
    graph = folder / "graph.json"
    graph.write_bytes(GRAPH)
    for at, mode in enumerate(MODES):
        for turn, job_id in enumerate(ENDS):
            for number, line in enumerate(_lines(folder, mode, job_id)):
                is_next = (number + turn) % len(MODES) == at
                if job_id not in line and job_id != "failed":
                    continue
                if line[0] in LEFT_OUT or (mode != "pipe" and line[0] in UNTIL_A_SIGNAL):
                    continue
                if are_all or job_id not in line or is_next:
                    words = [*line, "--json"] if mode == "json" else line
                    yield Call(words, in_terminal=mode == "terminal")


def _lines(folder: Path, mode: str, job_id: str) -> list[list[str]]:
    values = {
        "path": str(folder / "graph.json"),
        "job_id": job_id,
        "name": "runner",
        "archive export file": str(folder / f"exported-{mode}"),
        "archive parquet file": str(folder / f"events-{mode}.parquet"),
        "archive sql query": "select * from events",
        "audit replay to": str(folder / f"replayed-{mode}.jsonl"),
    }
    lines = [line for line in command_lines(values) if line[0] not in ALIASES.values()]
    more = [["audit", "timeline", job_id], ["events", job_id], ["jobs", "watch", job_id]]
    return [*lines, *more]


def faults(one: Shown) -> Iterator[str]:
    """Yield what a command did wrong."""
    out, err = one.out.decode(), one.err.decode()
    hidden = {c for c in out + err if c != "\n" and unicodedata.category(c) in HIDDEN}
    if hidden:
        yield f"acts: {hidden} in {out[:2000]!r} {err[:2000]!r}"
    if one.code not in CODES or "Traceback" in err:
        yield f"ended with {one.code}: {err}"
    if "❌" in out or "💀" in out:
        yield "draws an emoji"
    if "--json" in one.arguments:
        for line in out.split("\n"):
            if line.startswith("{"):
                json.loads(line)
    elif LONG[:12_000] in out + err:
        yield "shows a text of any length"


async def test_no_command_obeys_a_text_that_it_shows(
    start_program: StartProgram, server: OwnServer, tmp_path: Path, full_length: bool
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    async with Log.open(server.url) as log:
        for job_id in (*ENDS, "parked"):
            await submit(log, job_id)
        await live(log)
        await surroundings(log)
        async with projecting(log):
            await eventually(lambda: caught_up(log), 20)
    environ = {"REDIS_URL": server.url, "EVERFOLD_ARCHIVE": str(folder / "archive")}
    environ["EVERFOLD_LOG"] = "DEBUG"
    walk = Walk([*calls(folder, are_all=full_length)], str(folder), environ, 1.5)
    shown = await walked(start_program, walk)
    found = [(" ".join(one.arguments), fault) for one in shown for fault in faults(one)]
    assert not found, "\n".join(f"{words}: {fault}" for words, fault in found)
    seen = {" ".join(one.arguments[:2]) for one in shown if b"[/nope]" in one.out}
    assert {"jobs ls", "jobs show", "events failed", "audit show", "audit timeline"} <= seen
