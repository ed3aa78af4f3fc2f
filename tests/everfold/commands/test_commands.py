"""The commands as people and programs meet them: real processes, their output, their exit codes."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.simulator import Simulator, simulate
from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import make_jobs
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WORKFLOWS = Path(__file__).parents[2] / "data" / "workflows"
FAST = str(WORKFLOWS / "fast_success.json")


@pytest.fixture
async def comfy() -> AsyncIterator[Simulator]:
    async with simulate() as simulator:
        yield simulator


@pytest.fixture
def everfold(start_program: StartProgram, server: OwnServer, comfy: Simulator) -> Everfold:
    """Start `everfold <arguments>` on the test's own server."""

    def start(*arguments: str, **environ: str) -> Program:
        named = {"REDIS_URL": server.url, "COMFYUI_URL": comfy.url, "EVERFOLD_LOG": "INFO"}
        return start_program("-m", "everfold", *arguments, environ={**named, **environ})

    return start


async def test_up_carries_a_job_from_submit_to_outputs(everfold: Everfold) -> None:
    up = everfold("up")
    await up.line("everfold submit")
    told = await objects(everfold("submit", FAST, "--kind", "test", "--wait", "--json"))
    assert told[-1]["status"] == "succeeded"
    assert (told[-1]["jobType"], told[-1]["kind"]) == ("test", "test")
    job_id = str(told[-1]["job_id"])
    lines = await ended(everfold("jobs", "outputs", job_id))
    assert any("output/fast_00001_.png" in line for line in lines)
    up.send(signal.SIGINT)
    await ended(up)


async def test_a_second_signal_stops_a_draining_process_at_once(everfold: Everfold) -> None:
    up = everfold("up", "--drain", "60")
    await up.line("everfold submit")
    slow = str(WORKFLOWS / "long_interruptible.json")
    [made] = await objects(everfold("submit", slow, "--json"))
    job_id = str(made["job_id"])
    watching = everfold("events", job_id, "--follow")
    await watching.line("started", within_s=20)
    up.send(signal.SIGTERM)
    await up.line("draining: 1 job in flight")
    up.send(signal.SIGTERM)
    assert await up.end(within_s=10) == 130


async def test_what_is_appended_while_all_events_are_printed_is_printed_once(
    everfold: Everfold, server: OwnServer
) -> None:
    async with Log.open(server.url) as log:
        jobs = await make_jobs(log, 500)
        following = everfold("events", "--follow", "--json")
        while not following.lines:
            jobs += await make_jobs(log, 1)
        jobs += await make_jobs(log, 300)
        await following.line(jobs[-1], within_s=30)
    told = [json.loads(line)["job_id"] for line in following.lines]
    assert len(told) == len(set(told))
    assert set(told) <= set(jobs)


async def test_runner_and_projector_run_apart_and_end_with_zero(everfold: Everfold) -> None:
    projector, runner = everfold("projector"), everfold("runner", "--name", "gpu")
    await projector.line("projector")
    await runner.line("runner gpu-")
    told = await objects(everfold("submit", FAST, "--wait", "--json"))
    assert told[-1]["status"] == "succeeded"
    for program in (runner, projector):
        program.send(signal.SIGTERM)
        await ended(program)


async def test_a_failed_job_gives_exit_code_one_and_the_reason(everfold: Everfold) -> None:
    runner = everfold("runner")
    await runner.line("runner")
    lines = await ended(
        everfold("submit", str(WORKFLOWS / "invalid_missing_input.json"), "--wait"), code=1
    )
    said = " ".join(lines)
    assert "ImageScale (node 2)" in said
    assert "height" in said


async def test_set_changes_an_input_and_a_repeated_key_makes_no_second_job(
    everfold: Everfold,
) -> None:
    change = ("--set", "1.color=255", "--set", "4.filename_prefix=other")
    options = (*change, "--idempotency-key", "order-1", "--metadata", "shop=7", "--json")
    [first] = await objects(everfold("submit", FAST, *options))
    [again] = await objects(everfold("submit", FAST, *options))
    assert (first["job_id"], first["created"]) == (again["job_id"], True)
    assert again["created"] is False
    [job] = await objects(everfold("jobs", "show", str(first["job_id"]), "--json"))
    assert job["metadata"] == {"shop": "7"}
    refused = everfold("submit", FAST, "--idempotency-key", "order-1")
    assert await refused.end() == 2
    assert "another workflow" in " ".join(refused.error_lines)


async def test_a_waiting_job_is_canceled_at_once_and_listed_as_such(everfold: Everfold) -> None:
    [made] = await objects(everfold("submit", FAST, "--json", "--user", "ada"))
    job_id = str(made["job_id"])
    assert await ended(everfold("jobs", "cancel", job_id)) == [f"{job_id} canceled"]
    assert await ended(everfold("jobs", "cancel", job_id)) == [f"{job_id} canceled"]
    projector = everfold("projector")
    await projector.line("projector")
    await ended(everfold("jobs", "wait", job_id, "--timeout", "5"), code=1)
    listed = everfold("jobs", "ls", "--status", "canceled", "--user", "ada", "--json")
    assert [job["job_id"] for job in await objects(listed)] == [job_id]
    events = await objects(everfold("events", job_id, "--json"))
    kinds = [event["event"]["type"] for event in events]  # type: ignore[index]
    assert kinds == ["job.submitted", "job.cancel_requested", "job.canceled"]
    whole = await ended(everfold("events"))
    assert len(whole) == 3


async def test_doctor_says_what_to_change(everfold: Everfold) -> None:
    await ended(everfold("submit", FAST))
    found = await objects(everfold("doctor", "--json"), code=1)
    advice = {str(row["what"]): str(row["advice"]) for row in found}
    assert "everfold projector" in advice["projection"]
    assert "everfold runner --queue default" in advice["queue default"]
    up = everfold("up")
    await up.line("everfold submit")

    async def healthy() -> bool:
        return await everfold("doctor").end(60) == 0

    await eventually(healthy, 20)  # it has to take the job and to project what happened
    rows = await objects(everfold("doctor", "--json"))
    assert all(not row["advice"] for row in rows), rows


SENTENCES = {
    ("submit", "no-such-file.json"): (2, "cannot be read: No such file"),
    ("jobs", "show", "nobody"): (3, "there is no job 'nobody'"),
    ("jobs", "wait", "nobody"): (3, "there is no job 'nobody'"),
    ("jobs", "watch", "nobody"): (3, "there is no job 'nobody'"),
    ("jobs", "outputs", "nobody"): (3, "there is no job 'nobody'"),
    ("jobs", "cancel", "nobody"): (3, "there is no job 'nobody'"),
    ("events", "nobody"): (3, "there is no job 'nobody'"),
    ("jobs", "ls", "--status", "done"): (2, "choose from queued, running"),
    ("jobs", "ls", "--cursor", "x"): (2, "the one that came with the last page"),
    ("submit", FAST, "--set", "99.x=1"): (2, "the nodes are 1, 2, 3, 4"),
    ("submit", FAST, "--set", "1.wdith=32"): (2, "node 1 has no such input; it has batch_size"),
    ("submit", FAST, "--metadata", "x"): (2, "write it as name=value"),
    ("submit", FAST, "--priority", "urgent"): (2, "choose one of high, normal, low"),
    ("submit", FAST, "--queue", "a b"): (2, "letters, digits"),
    ("runner", "--comfyui", "ftp://gpu"): (2, "http"),
    ("runner", "--slots", "0"): (2, "from 1 to"),
    ("doctor", "--namespace", "a/b"): (2, "namespace 'a/b'"),
    ("projector", "--job-ttl", "0"): (2, "from 0.001s to"),
}


@pytest.mark.parametrize("arguments", SENTENCES, ids=" ".join)
async def test_bad_input_gets_one_sentence(
    everfold: Everfold, server: OwnServer, arguments: tuple[str, ...]
) -> None:
    async with Log.open(server.url):
        pass
    code, words = SENTENCES[arguments]
    program = everfold(*arguments)
    assert await program.end(within_s=30) == code, program
    assert words in " ".join(program.error_lines), program
    assert len(program.error_lines) <= 2, program


async def test_an_editor_workflow_is_refused_with_the_way_to_export(
    everfold: Everfold, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.json"
    drawn.write_text('{"nodes": [], "links": []}')
    program = everfold("submit", str(drawn))
    assert await program.end() == 2
    assert "Export (API)" in " ".join(program.error_lines)


async def test_usage_errors_give_two_and_a_missing_server_four(everfold: Everfold) -> None:
    assert await everfold("submit").end() == 2
    assert await everfold("no-such-command").end() == 2
    gone = everfold("jobs", "ls", REDIS_URL="redis://127.0.0.1:1/0")
    assert await gone.end(within_s=30) == 4
    assert "cannot be reached" in " ".join(gone.error_lines) or "Redis" in gone.error_lines[0]


async def test_without_a_server_it_says_how_to_start_one(
    start_program: StartProgram, tmp_path: Path
) -> None:
    environ = {"EVERFOLD_DATA": str(tmp_path / "none"), "REDIS_URL": "", "REDIS_HOST": ""}
    program = start_program("-m", "everfold", "jobs", "ls", environ=environ)
    assert await program.end() == 4
    assert "everfold up" in " ".join(program.error_lines)


async def test_help_and_version_name_themselves(everfold: Everfold) -> None:
    assert any("Exit codes" in line for line in await ended(everfold("--help")))
    assert (await ended(everfold("--version")))[0].startswith("0.")
    for command in ("demo", "up", "runner", "projector", "simulator", "submit", "jobs", "events"):
        assert await ended(everfold(command, "--help"))
