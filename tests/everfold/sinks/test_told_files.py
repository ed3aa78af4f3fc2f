"""Databases, webhooks and the archive hear of the files of a job: names, hashes and sizes."""

from __future__ import annotations

import base64
import json
import re
from contextlib import aclosing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from everfold.archives.sql import ask
from everfold.sinks.sql import SqlSink
from everfold.sinks.webhook import WebhookSink
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.events.event import Outputs, Succeeded
from everfold.streams.leases.producer import Producer
from tests.everfold.sinks.receiver import Receiver
from tests.projector.jobs import GRAPH
from tests.projector.subscribing.listening import SOON_S, consuming, taken

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[3] / "docs" / "ASSETS.md").read_text()
HASH = "blake3:" + "ab" * 32
SMALL = {"asset": "0c6a0d9e-3f5e-5e0c-8f53-2f9c8a40beee", "hash": "blake3:" + "cd" * 32}
FILE: dict[str, object] = {
    "filename": "x_00001_.png",
    "subfolder": "",
    "type": "output",
    "asset": "0c6a0d9e-3f5e-5e0c-8f53-2f9c8a40beef",
    "hash": HASH,
    "size_bytes": 2_097_152,
    "media_type": "image/png",
    "name": "j_x_00001_.png",
    "thumbnail": SMALL,
}
KEPT = {"filename": "y.png", "subfolder": "", "type": "output", "stored": False, "why": "quota"}
OUTPUTS: Outputs = {"9": {"images": [FILE, KEPT], "text": ["a dog"], "animated": [False]}}


async def job_with_files(log: Log) -> str:
    job_id = (await log.submit(GRAPH, user="ada")).job_id
    producer = Producer(log, "r")
    (lease,) = await producer.claim(1, wait_s=5)
    await producer.finish(lease, Succeeded(attempt=1, outputs=OUTPUTS))
    return job_id


def query(engine: str) -> str:
    """Return the query that the page has for this engine."""
    found = re.search(rf"```sql\n(-- {engine}\n.*?)```", PAGE, re.DOTALL)
    assert found, engine
    return found[1]


@pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
async def test_the_files_of_jobs_are_found_in_a_database(
    log: Log, tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    is_postgres = engine == "PostgreSQL"
    url = f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}"
    url = str(request.getfixturevalue("postgres_url")) if is_postgres else url
    job_id = await job_with_files(log)
    sink = SqlSink(log, url, events=False, progress=False)
    await sink.open()
    async with aclosing(sink), consuming(log, sink):
        await taken(log, "sql")

    database = create_async_engine(url)
    async with database.connect() as connection:
        rows = [row for row in await connection.execute(text(query(engine))) if row[0] == job_id]
    await database.dispose()
    assert [tuple(row) for row in rows] == [
        (job_id, "j_x_00001_.png", "image/png", 2_097_152, HASH)
    ]


async def test_a_webhook_has_the_files_in_its_outputs(log: Log, receiver: Receiver) -> None:
    await job_with_files(log)
    secret = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
    sink = WebhookSink(
        f"{receiver.url}/hook", [secret], start="beginning", retry_s=SOON_S, allow_private=True
    )
    async with aclosing(sink), consuming(log, sink):
        await taken(log, "webhook")

    last = json.loads(receiver.messages[-1].body)
    assert last["type"] == "job.succeeded"
    assert last["data"]["outputs"] == OUTPUTS


async def test_the_archive_has_the_files_in_its_events(log: Log, tmp_path: Path) -> None:
    job_id = await job_with_files(log)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)

    _, rows = await ask(
        archive,
        range(log.keys.partitions),
        "select job_id, event->'outputs'->'9'->'images'->0->>'hash', "
        "event->'outputs'->'9'->'images'->0->>'size_bytes' from events "
        "where type = 'job.succeeded'",
    )
    assert list(rows) == [(job_id, HASH, "2097152")]
