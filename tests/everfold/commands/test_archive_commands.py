"""`everfold archive ...` and `everfold audit show|prove` as people and programs meet them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from everfold.archives.opening import FIELD, open_store
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from everfold.streams.events.event import CancelRequested
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.readers import readers, register
from everfold.streams.redis.redis_errors import command
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import assert_projected, make_jobs, projecting, work
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def ended_jobs(log: Log, count: int = 12) -> list[str]:
    jobs = await make_jobs(log, count)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
    return jobs


@pytest.mark.long
async def test_archived_and_trimmed_jobs_are_told_proved_and_rebuilt(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    jobs = await ended_jobs(log)
    before = await ended(everfold("audit", "show", jobs[0]))
    refused = everfold("archive", "ls")
    await ended(refused, code=2)
    assert "has no archive yet" in "".join(refused.error_lines)
    place = str(tmp_path / "archive")
    told = await ended(everfold("archive", "run", "--archive", place, "--everything"))
    assert told[0].startswith("120 events archived")
    rows = await objects(everfold("archive", "ls", "--json"))
    assert sum(int(str(row["archived"])) for row in rows) == 120
    would = await objects(everfold("archive", "trim", "--retention", "0", "--dry-run", "--json"))
    assert sum(int(str(row["count"])) for row in would) == 120
    trimmed = await objects(everfold("archive", "trim", "--retention", "0", "--json"))
    assert sum(int(str(row["count"])) for row in trimmed) == 120
    assert await ended(everfold("audit", "show", jobs[0])) == before
    assert "are what was written" in (await ended(everfold("audit", "prove")))[-1]
    head = next(str(row["head"]) for row in rows if row["head"])
    await ended(everfold("audit", "prove", "--head", head))
    wrong = await ended(everfold("audit", "prove", "--head", "0" * 64), code=1)
    assert "no chain" in wrong[-1]
    assert "10 archived events" in (await ended(everfold("audit", "prove", jobs[0])))[-1]
    await ended(everfold("audit", "prove", "nobody"), code=3)
    assert "120 events folded" in (await ended(everfold("projector", "rebuild")))[-1]


async def test_a_place_without_archived_events_and_an_empty_head_prove_nothing(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path / "a"), "--everything"))
    refused = everfold("audit", "prove", "--archive", str(tmp_path))
    await ended(refused, code=2)
    assert f"{tmp_path} has no archived events" in "".join(refused.error_lines)
    for words in (["--head", ""], [""]):
        empty = everfold("audit", "prove", *words)
        await ended(empty, code=2)
        assert "is empty: give it a value, or leave it out" in "".join(empty.error_lines)


async def test_a_changed_segment_fails_the_proof_and_is_named(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    name = change_a_segment(tmp_path)
    told = await ended(everfold("audit", "prove"), code=1)
    assert name in told[-1]
    told = await ended(everfold("audit", "verify"), code=1)
    assert any(name in line for line in told)


async def test_what_cannot_be_read_beside_the_log_is_named_behind_the_proof_of_the_log(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 3)
    folder = tmp_path / "archive"
    await ended(everfold("archive", "run", "--archive", str(folder), "--everything"))
    shutil.rmtree(folder)
    folder.write_text("another file")
    await command(log.redis, "DEL", log.keys.servers())
    await command(log.redis, "SET", log.keys.servers(), "of another program")
    program = everfold("audit", "verify")
    told = await ended(program, code=4)
    assert told[0].startswith("3 events of 3 jobs, 3 of them open: all as it must be")
    assert f"the archive was not checked to its end: the archive's folder {folder}" in "".join(
        program.error_lines
    )
    assert "the list of servers was not checked to its end" in "".join(program.error_lines)
    program = everfold("audit", "verify", "--json")
    await ended(program, code=4)
    found = json.loads(program.lines[0])
    assert (found["sound"], found["server_changes"], len(found["unchecked"])) == (True, [], 2)

    await command(log.redis, "HSET", log.keys.meta(), FIELD, "ftp://of/another/program")
    program = everfold("audit", "verify")
    assert (await ended(program, code=4))[0].startswith("3 events of 3 jobs")
    assert "is not an archive" in "".join(program.error_lines)
    program = everfold("audit", "verify", "--archive", "ftp://nowhere")
    assert await ended(program, code=2) == []


async def test_a_place_that_cannot_be_written_is_not_remembered_and_holds_nothing(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    # Nobody can make a folder there, root included, and that it is not there is no error.
    wrong = everfold("archive", "run", "--archive", "/proc/nowhere", "--once")
    await ended(wrong, code=4)
    assert "the archive /proc/nowhere cannot be reached" in "".join(wrong.error_lines)
    assert await readers(log, 0) == {}
    await ended(everfold("archive", "ls"), code=2)
    await ended(everfold("archive", "run", "--archive", str(tmp_path / "good"), "--once"))
    await ended(everfold("archive", "ls"))


def change_a_segment(folder: Path) -> str:
    segment = next(folder.glob("partition-*/*.jsonl.gz"))
    segment.write_bytes(segment.read_bytes()[:-4] + b"abcd")
    return segment.name


async def test_the_archiver_runs_until_it_is_ended_and_trims(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    running = everfold("archive", "run", "--trim-after", "0")

    async def is_trimmed() -> bool:
        rows = await objects(everfold("archive", "ls", "--json"))
        return sum(int(str(row["trimmed"])) for row in rows) == 120

    await eventually(is_trimmed, 30)
    running.send(signal.SIGTERM)
    await ended(running)


async def test_what_holds_the_trim_is_named(everfold: Everfold, log: Log, tmp_path: Path) -> None:
    [waiting] = await make_jobs(log, 1)
    told = await ended(everfold("archive", "readers"))
    assert any("no archive" in line for line in told)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    partition = log.keys.partition_of(waiting)
    told = await ended(everfold("archive", "readers"))
    of_it = [line for line in told if line.split()[0] == str(partition)]
    assert "the retention" in of_it[0]
    assert any("reader archive" in line for line in of_it)


async def test_a_forgotten_group_of_another_program_is_told_and_can_be_removed(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    keys = [log.keys.log(partition) for partition in range(log.keys.partitions)]
    for key in keys:
        await command(log.redis, "XGROUP CREATE", key, "billing", "0")
    told = await objects(everfold("doctor", "--json"), code=1)
    held = [row for row in told if "consumer group billing holds" in str(row["found"])]
    advice = str(held[0]["advice"])
    destroy = advice.partition("`redis-cli ")[2].partition("`")[0].replace("'", "").split()
    assert destroy[:2] + destroy[3:] == ["XGROUP", "DESTROY", "billing"]
    assert destroy[2] in keys


async def test_a_forgotten_reader_is_told_and_can_be_let_go(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    for partition in range(log.keys.partitions):
        await register(log, partition, "audit", NO_ENTRY)
    told = await objects(everfold("doctor", "--json"), code=1)
    held = [row for row in told if "reader audit holds" in str(row["found"])]
    assert held
    assert "archive forget" in str(held[0]["advice"])
    await ended(everfold("archive", "forget", "audit"))
    await ended(everfold("archive", "forget", "audit"), code=3)
    told = await objects(everfold("doctor", "--json"), code=1)
    assert not any("reader audit" in str(row["found"]) for row in told)


async def test_the_archive_answers_sql(everfold: Everfold, log: Log, tmp_path: Path) -> None:
    await ended_jobs(log)
    await ended(everfold("archive", "run", "--archive", str(tmp_path), "--everything"))
    query = "select type, count(*) as n from events group by type order by n desc, type"
    rows = await objects(everfold("archive", "sql", query, "--json"))
    assert rows[0] == {"type": "job.progressed", "n": 60}
    assert {row["type"] for row in rows} >= {"job.submitted", "job.succeeded"}
    assert any("job.progressed" in line for line in await ended(everfold("archive", "sql", query)))
    file = tmp_path / "events.parquet"
    assert "120 events written" in (await ended(everfold("archive", "parquet", str(file))))[-1]
    query = f"select count(distinct job_id) as jobs from '{file}'"
    allowed = everfold("archive", "sql", query, "--json", "--allow-files")
    assert await objects(allowed) == [{"jobs": 12}]
    values = "select null as a, 1.5 as b, true as c, [1, null] as d, 7 as e, 8 as e, '' as f"
    assert await objects(everfold("archive", "sql", values, "--json")) == [
        {"a": None, "b": 1.5, "c": True, "d": [1, None], "e": 7, "e_1": 8, "f": ""}
    ]
    assert (await ended(everfold("archive", "sql", values)))[-1].split()[:3] == ["-", "1.5", "True"]
    for empty in ("", " ", ";"):
        refused = everfold("archive", "sql", empty)
        await ended(refused, code=2)
        assert "there is no query: write SQL" in "".join(refused.error_lines)
    refused = everfold("archive", "sql", "select nothing from nowhere")
    await ended(refused, code=2)
    assert "DuckDB" in "".join(refused.error_lines)


async def test_show_tells_the_story_the_state_at_a_point_and_what_changed(
    everfold: Everfold, log: Log
) -> None:
    [job_id] = await ended_jobs(log, 1)
    told = await ended(everfold("audit", "show", job_id))
    assert "submitted to queue default" in told[1]
    assert "r takes the job" in told[2]
    assert told[-1].startswith("succeeded after")
    steps = await objects(everfold("audit", "show", job_id, "--json"))
    assert [step["seq"] for step in steps] == list(range(1, 11))
    [state] = await objects(everfold("audit", "show", job_id, "--at", "4", "--json"))
    assert (state["seq"], state["status"]) == (4, "running")
    changed = await objects(everfold("audit", "show", job_id, "--diff", "4", "10", "--json"))
    assert {"field": "status", "before": "running", "after": "succeeded"} in changed
    for point in ("11", "yesterday"):
        refused = everfold("audit", "show", job_id, "--at", point)
        await ended(refused, code=2)
    await ended(everfold("audit", "show", "nobody"), code=3)


async def test_recoveries_and_other_runners_are_marked(everfold: Everfold, log: Log) -> None:
    [job_id] = await make_jobs(log, 1)
    await work(log, finish=False, runner="first")
    await log.append(job_id, CancelRequested(reason="enough"), epoch=0)
    from everfold.streams.leases.dispatch import Dispatch
    from everfold.streams.leases.fairness import all_lanes

    dispatch = Dispatch(log, "second")
    partition = log.keys.partition_of(job_id)
    for lane in all_lanes(["default"]):
        await dispatch.take_over(partition, lane, idle_limit_s=0, cursor="-", suspect="", most=5)
    steps = await objects(everfold("audit", "show", job_id, "--json"))
    assert steps[-1]["mark"] == "recovery"
    assert "takes over from first" in str(steps[-1]["what"])
    assert "cancel requested: enough" in str(steps[-2]["what"])


def test_an_address_that_is_no_store_is_refused() -> None:
    with pytest.raises(Misconfigured, match="not an archive"):
        open_store("ftp://nowhere")
