"""A list that goes on says so, to people and to programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import assert_projected, make_jobs, projecting

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}

NOT_ALL = "everfold: this is not all: go on with "


async def test_a_program_is_told_on_stderr_how_a_list_of_jobs_goes_on(
    everfold: Everfold, log: Log
) -> None:
    made = await make_jobs(log, 3)
    async with projecting(log):
        await assert_projected(log, made)
    listed, options = set[str](), ["--limit", "2"]
    for count in (2, 1):
        page = everfold("jobs", "ls", "--json", *options)
        listed |= {str(job["job_id"]) for job in await objects(page)}
        assert len(page.lines) == count
        told = [line for line in page.error_lines if line.startswith(NOT_ALL)]
        options = told[0].removeprefix(NOT_ALL).split() if told else []
    assert listed == set(made)
    assert not options


async def test_a_program_is_told_how_a_list_of_files_goes_on(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        await ended(
            everfold("assets", "put", str(tmp_path / name), "--assets", str(tmp_path / "s"))
        )
    page = everfold("assets", "ls", "--json", "--limit", "1", "--assets", str(tmp_path / "s"))
    await objects(page)
    assert any(line.startswith(f"{NOT_ALL}--cursor ") for line in page.error_lines)


async def test_acts_that_are_left_out_are_told(everfold: Everfold, log: Log) -> None:
    for _ in range(3):
        await ended(everfold("queues", "pause", "default"))
    page = everfold("audit", "acts", "--json", "--limit", "2")
    await objects(page)
    assert f"{NOT_ALL}--limit 3" in page.error_lines
    assert (await ended(everfold("audit", "acts", "--limit", "2")))[-1] == "more: --limit 3"


async def test_batches_go_on_only_where_there_are_more(everfold: Everfold, log: Log) -> None:
    made = [(await log.submit(GRAPH, batch=name)).job_id for name in ("a", "b")]
    async with projecting(log):
        await assert_projected(log, made)
    whole = everfold("batches", "ls", "--json", "--limit", "2")
    part = everfold("batches", "ls", "--json", "--limit", "1")
    assert [len(await objects(one)) for one in (whole, part)] == [2, 1]
    assert whole.error_lines == []
    assert part.error_lines == [f"{NOT_ALL}--after a"]
