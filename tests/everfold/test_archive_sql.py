"""What a query over the archive can reach of the machine: nothing but the archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.archives.sql import ask
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import Refused
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio


async def test_a_query_reaches_no_file_no_network_and_no_extension(
    log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 2)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)
    every = range(log.keys.partitions)
    secret, made = tmp_path / "secret.csv", tmp_path / "made"
    secret.write_text("a\nhidden\n")
    for query in (
        f"select * from '{secret}'",
        f"select * from read_text('{secret}')",
        f"select * from read_csv('{tmp_path}/*.csv')",
        f"select * from glob('{tmp_path}/*')",
        f"copy (select 1) to '{made}'",
        f"attach '{made}' as other",
        f"export database '{made}'",
        "install httpfs",
        "load httpfs",
        "select * from 'http://127.0.0.1:1/x.csv'",
        "set enable_external_access = true",
        "reset enable_external_access",
        f"set allowed_directories = ['{tmp_path}']",
        f"set lock_configuration = false; select * from '{secret}'",
    ):
        with pytest.raises(Refused, match="DuckDB"):
            await ask(archive, every, query)
    assert not made.exists()
    _, rows = await ask(archive, every, "select count(distinct job_id) from events")
    assert list(rows) == [(2,)]
    _, rows = await ask(archive, every, f"select * from '{secret}'", allow_files=True)
    assert list(rows) == [("hidden",)]
