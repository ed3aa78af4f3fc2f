"""`--json`: every command that has it prints one JSON object on each line, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from everfold.archives.opening import remember_archive
from everfold.assets.store_of import open_assets
from everfold.commands.app import ALIASES
from everfold.commands.config.settings import settings_of
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import BEGINNING, GiveUp, Subscription
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.redis.server import server_time_ms
from tests.everfold.running import Everfold, ended
from tests.everfold.walk.calls import RUNNABLE, command_lines, walked
from tests.everfold.walk.walker import Call, Shown, Walk
from tests.projector.jobs import GRAPH, add_raw, caught_up, projecting, work
from tests.projector.subscribing.listening import consuming
from tests.support.programs.programs import StartProgram
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

WITHOUT_JSON = {
    "simulator", "config check", "schema json", "schema asyncapi", "schema openapi",
    "schema script", "sink webhook test", "help",
}  # fmt: skip
"""Commands that print a document, or one sentence."""

OTHER_TESTS = {"demo", "runners drain"}
"""What runs whole in a test of its own."""

CODES = {
    "jobs wait": {1},
    "batches wait": {0, 1},
    "doctor": {1},
    "health": {0, 1},
    "projector parked retry": {1},
    "audit verify": {0, 1},
}
"""The exit codes of commands that find something wrong here; all others end with 0."""

QUIET = {"audit show", "keys ls", "projector show"}
"""Commands that may have nothing to print."""

NAMES = ("held", "skipped", "again", "gone")
BACKENDS = ("http://one:1", "http://two:1")
COMMANDS = {" ".join(words): words for words in RUNNABLE if words[0] not in ALIASES.values()}


def has_json(words: tuple[str, ...]) -> bool:
    return any(setting.key == "json" for setting in settings_of(RUNNABLE[words], words))


def test_all_commands_have_it_but_those_that_print_a_document() -> None:
    assert {name for name, words in COMMANDS.items() if not has_json(words)} == WITHOUT_JSON


async def seed(log: Log, folder: Path) -> tuple[str, str]:
    """Make jobs that ended and one that waits, an archive, backends, held and parked jobs, an
    asset that stays and one that is to be removed, whose ids are returned.

    The runner has no named connection, so that no other one takes it for dead.
    """
    for job_id in ("ended", "held"):
        await log.submit(GRAPH, job_id=job_id, user="u1", batch="held")
    await work(log)
    archive = Archive(Folder(str(folder / "archive")))
    await Archiver(log, archive).run(everything=True)
    await remember_archive(log, archive)
    await log.submit(GRAPH, job_id="running", user="u1")
    await work(log, finish=False)
    for job_id in ("open", "canceled", "skipped"):
        await log.submit(GRAPH, job_id=job_id, user="u1")
    for job_id in ("parked", "parked2"):
        await log.submit(GRAPH, job_id=job_id)
        await add_raw(log, job_id, 2, b'{"type":"job.strange","id":"x","actor":"y","v":1}')
    await set_limit(log, Limit("waiting", "queue", "held", 5))
    now_ms = await server_time_ms(log.redis)
    rows = [BackendEntry(name=name, seen_ms=now_ms, by="r", is_reached=True) for name in BACKENDS]
    await note_backends(log, rows)
    one = RunnerEntry(
        runner="far",
        host="h",
        pid=1,
        queues=("held",),
        backends=(),
        since_ms=now_ms,
        is_named=False,
    )
    await register_runner(log, one)

    async def refuse(_: Delivery) -> None:
        raise GiveUp("no")

    for name in NAMES:
        async with consuming(log, Subscription(name, start=BEGINNING)(refuse)), projecting(log):
            await eventually(lambda: caught_up(log), 20)
            await eventually(partial(held_jobs, log, name), 20)
    store = open_assets(log, folder / "assets")
    kept, removed = [(await store.put(b"text", name=name)).asset.id for name in ("a.txt", "b.txt")]
    return kept, removed


def values(folder: Path, asset: str, removed: str) -> dict[str, str]:
    graph = folder / "graph.json"
    graph.write_text(json.dumps(GRAPH))
    exported = folder / "exported.jsonl.gz"
    return {
        "path": str(graph),
        "job_id": "ended",
        "asset": asset,
        "assets rm asset": removed,
        "name": "held",
        "jobs wait job_id": "open",
        "jobs give-up job_id": "running",
        "projector parked retry job_id": "parked",
        "projector parked skip job_id": "parked2",
        "projector show projection": "examples.jobs_per_hour:PER_HOUR",
        "archive export file": str(exported),
        "archive import file": str(folder / "before.jsonl.gz"),
        "archive parquet file": str(folder / "events.parquet"),
        "archive sql query": "select * from events",
        "archive forget name": "archive",
        "audit replay to": str(folder / "replayed.jsonl"),
        "jobs why job_id": "open",
        "jobs priority job_id": "open",
        "jobs priority priority": "high",
        "limits set number": "2",
        "queues pause name": "default",
        "queues resume name": "default",
        "backends drain name": BACKENDS[1],
        "backends retire name": BACKENDS[0],
        "backends return name": BACKENDS[1],
        "subscriptions skip name": "skipped",
        "subscriptions skip job_id": "ended",
        "subscriptions reset name": "again",
        "subscriptions reset to": "now",
        "subscriptions rm name": "gone",
        "sink sql url": f"sqlite+aiosqlite:///{folder / 'jobs.db'}",
        "sink webhook url": "https://127.0.0.1:1/hook",
        "sink posthog key": "phc_x",
    }


MORE = {
    "assets get": ["--to", "got.txt"],
    "archive import": ["--namespace", "imported"],
    "archive run": ["--everything"],
    "archive trim": ["--retention", "7d"],
    "batches wait": ["--timeout", "1"],
    "jobs cancel": ["canceled"],
    "jobs rerun": ["ended"],
    "jobs wait": ["--timeout", "1"],
    "jobs watch": ["ended"],
    "runner": ["--drain", "0"],
    "keys add": ["--role", "reader"],
    "keys revoke": ["held"],
    "metrics": ["--metrics-port", "0"],
    "serve": ["--port", "0"],
    "up": ["--drain", "0"],
    "sink webhook": ["--allow-private"],
}


def name_of(line: list[str]) -> str:
    """Return the command of a line."""
    words = (tuple(line[:count]) for count in (3, 2, 1))
    return " ".join(next(one for one in words if one in RUNNABLE))


def calls(folder: Path, *assets: str) -> Iterator[Call]:
    for line in command_lines(values(folder, *assets)):
        name = name_of(line)
        if name in COMMANDS and name not in WITHOUT_JSON | OTHER_TESTS:
            yield Call([*line, *MORE.get(name, []), "--json"])


def faults(name: str, one: Shown) -> Iterator[str]:
    """Yield what is wrong with the lines of a command."""
    lines = one.out.decode().splitlines()
    if one.code not in CODES.get(name, {0}):
        yield f"ended with {one.code}: {one.err.decode()}"
    for line in lines:
        try:
            if not isinstance(json.loads(line), dict):
                yield f"is no object: {line}"
        except ValueError:
            yield f"is no JSON: {line}"
    if not lines and name not in QUIET:
        yield f"prints nothing: {one.err.decode()}"


async def test_each_line_that_a_command_prints_is_an_object(
    start_program: StartProgram, server: OwnServer, everfold: Everfold, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    async with Log.open(server.url) as log:
        assets = await seed(log, folder)
    await ended(everfold("archive", "export", str(folder / "before.jsonl.gz")))
    environ = {"REDIS_URL": server.url, "COMFYUI_URL": BACKENDS[0], "EVERFOLD_LOG": "CRITICAL"}
    environ["EVERFOLD_ASSETS"] = str(folder / "assets")
    for sink in ("WEBHOOK", "CALLBACKS"):
        environ[f"EVERFOLD_SINK_{sink}_SECRET"] = f"whsec_{'A' * 44}"
    shown = await walked(start_program, Walk([*calls(folder, *assets)], str(folder), environ, 5.0))
    names = [(name_of(one.arguments), one) for one in shown]
    found = [(name, fault) for name, one in names for fault in faults(name, one)]
    assert not found, "\n".join(f"{name}: {fault}" for name, fault in found)
