"""The consumers among the examples, and the lines of docs/CONSUMING.md, as real programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.reading.reader import job_events
from tests.projector.jobs import GRAPH, make_jobs, work
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer, StartServer, client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
Read = list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]

PAGE = (ROOT / "docs" / "CONSUMING.md").read_text()


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server(tcp=True)


@pytest.fixture
async def log(server: OwnServer) -> AsyncIterator[Log]:
    async with Log.open(server.url) as log:
        yield log


async def test_receipts_are_sent_for_what_has_succeeded(
    log: Log, start_program: StartProgram
) -> None:
    program = start_program("-m", "examples.receipts", environ={"REDIS_URL": log.url.reveal()})
    jobs = [(await log.submit(GRAPH, kind="portrait", user="ada")).job_id for _ in range(3)]
    await log.submit(GRAPH)
    await work(log)
    await eventually(lambda: len(program.lines) == 3, 20)
    assert sorted(program.lines) == sorted(
        f"receipt to ada for portrait: job {job_id}" for job_id in jobs
    )


@pytest.mark.long
async def test_the_tally_is_right_however_often_it_is_killed(
    log: Log, start_program: StartProgram, tmp_path: Path
) -> None:
    path = tmp_path / "tally.db"
    for _ in range(3):
        program = start_program(
            "-m", "examples.tally", str(path), environ={"REDIS_URL": log.url.reveal()}
        )
        await make_jobs(log, 20)
        await work(log, steps=1)
        await program.line("job.", within_s=20)
        program.kill()
    start_program("-m", "examples.tally", str(path), environ={"REDIS_URL": log.url.reveal()})
    await eventually(lambda: counts(path).get("job.succeeded") == 60, 20)
    assert set(counts(path).values()) == {60}


def counts(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as database:
        found = dict(database.execute("SELECT type, count FROM counts").fetchall())
    database.close()
    return found


async def test_the_own_cursor_writes_each_event_once(
    log: Log, start_program: StartProgram, tmp_path: Path
) -> None:
    path = tmp_path / "events.db"

    def start() -> Program:
        environ = {"REDIS_URL": log.url.reveal()}
        return start_program("-m", "examples.own_cursor", str(path), environ=environ)

    jobs: list[str] = []
    for _ in range(3):
        program = start()
        jobs += await make_jobs(log, 10)
        await work(log)
        await program.line("job.progressed", within_s=20)
        program.kill()
    program = start()
    await program.line("continues after the stored position", within_s=20)
    await eventually(lambda: len(written(path)) == 300, 20)
    assert written(path) == [(job_id, seq) for job_id in sorted(jobs) for seq in range(1, 11)]


def written(path: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT job, seq FROM events ORDER BY job, seq").fetchall()
    database.close()
    return found


async def test_the_redis_cli_lines_do_what_the_page_says(log: Log) -> None:
    blocks = re.findall(r"```console\n(\$ redis-cli.*?)```", PAGE, re.DOTALL)
    lines = [line.removeprefix("$ redis-cli ") for line in blocks[0].splitlines()]
    await log.submit(GRAPH, job_id="order-17")
    (event,) = await job_events(log, "order-17")
    redis = client(log.url.reveal())
    redis.response_callbacks.clear()

    def run(line: str) -> object:
        words = [event.entry_id if word == "$ENTRY" else word for word in shlex.split(line)]
        return cast("object", redis.execute_command(*words))  # type: ignore[no-untyped-call]

    partitions, create, read, again, acknowledge, pending = lines
    assert run(partitions) == b"24"
    run(create)
    for line in (read, again):
        ((_, ((entry_id, fields),)),) = cast("Read", run(line))
        assert entry_id == event.entry_id.encode()
        assert fields[:4] == [b"j", b"order-17", b"s", b"1"]
    assert run(acknowledge) == 1
    assert cast("list[object]", run(pending))[0] == 0
    redis.close()


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's program and the package that it needs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on PATH: the Node lines of docs/CONSUMING.md are not run")
    folder = tmp_path_factory.mktemp("node")
    (code,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    (folder / "consume.mjs").write_text(code)
    install = ("npm", "install", "--no-audit", "--no-fund", "--silent", "redis@5")
    made = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )
    if made.returncode:
        pytest.skip(f"npm cannot install redis here: {made.stderr.strip()[-200:]}")
    return folder


async def test_the_node_lines_consume_every_event_and_resume(
    log: Log, node_folder: Path, tmp_path: Path
) -> None:
    jobs = await make_jobs(log, 6)
    await work(log)
    seen: list[tuple[str, int]] = []
    for count in (60, 100):
        path = tmp_path / f"told-{count}"
        with node_consumer(node_folder, log.url.reveal(), path):
            await eventually(partial(has_lines, path, count - len(seen)), 30)
        seen += lines_of(path)
        jobs += await make_jobs(log, 4)
        await work(log)
    for job_id in jobs[:10]:
        assert [seq for told_of, seq in seen if told_of == job_id] == list(range(1, 11))


@contextlib.contextmanager
def node_consumer(folder: Path, url: str, path: Path) -> Iterator[None]:
    """Run the page's program until the context ends; what it prints goes into a file."""
    environ = {**os.environ, "REDIS_URL": url}
    with path.open("w") as told:
        program = ["node", "consume.mjs"]
        node = subprocess.Popen(program, cwd=folder, env=environ, stdout=told, stderr=told)
    try:
        yield
    finally:
        node.kill()
        node.wait()


def has_lines(path: Path, count: int) -> bool:
    return len(lines_of(path)) >= count


def lines_of(path: Path) -> list[tuple[str, int]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    assert all(len(row) == 3 for row in rows), json.dumps(rows)
    return [(job_id, int(seq)) for job_id, seq, _ in rows]
