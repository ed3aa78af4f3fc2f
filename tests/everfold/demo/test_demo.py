"""The demo: a runner is killed, and nothing is lost or executed twice."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from everfold.commands.operate.demo import shown
from everfold.demo.failover import FailoverSummary
from everfold.demo.summary import Seen, summarize
from everfold.projector.job.job import Job
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.long
async def test_the_demo_ends_well_and_says_so(start_program: StartProgram, tmp_path: Path) -> None:
    demo = start_program("-m", "everfold", "demo", "--json", "--folder", str(tmp_path))
    assert await demo.end(within_s=90) == 0, demo
    *steps, summary = [json.loads(line) for line in demo.lines]
    assert all(step["what"] and step["after_s"] >= 0 for step in steps), steps
    assert summary["ok"] is True
    counts = ("submitted", "succeeded", "failed", "canceled", "executed_twice", "lost", "images")
    assert [summary[name] for name in counts] == [13, 10, 2, 1, 0, 0, 10]
    assert summary["recovered"] >= 1
    assert summary["moved"] >= 1
    assert summary["seen"]["before_bob"] <= 5
    assert [summary["seen"][name] for name in ("blurred", "blurred_elsewhere")] == [4, 0]
    assert summary["seen"]["while_drained"] == 0
    assert summary["images"] == len(pictures(summary["outputs"]))


@pytest.mark.long
async def test_the_demo_of_a_failover_loses_nothing_and_says_so(
    start_program: StartProgram, tmp_path: Path
) -> None:
    call = ("-m", "everfold", "demo", "--failover", "--json", "--folder", str(tmp_path))
    demo = start_program(*call)
    assert await demo.end(within_s=170) == 0, demo
    *steps, summary = [json.loads(line) for line in demo.lines]
    assert any("killed with SIGKILL" in step["what"] for step in steps), steps
    counts = ("acknowledged", "succeeded", "lost", "executed_twice")
    assert [summary[name] for name in counts] == [24, 24, 0, 0]
    assert 0 < summary["during"] < 24
    assert summary["still_s"] > 0.5
    assert summary["primary"] in ("b", "c")
    assert summary["ok"] is True
    assert processes_of(tmp_path) == []


@pytest.mark.like_rows(2)
@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "after", "options"),
    [
        (signal.SIGTERM, "start", ()),
        (signal.SIGHUP, "two runners", ()),
        (signal.SIGINT, "start", ("--failover",)),
        (signal.SIGTERM, "killed with SIGKILL", ("--failover",)),
    ],
)
async def test_a_demo_that_a_signal_ends_leaves_no_process(
    start_program: StartProgram,
    tmp_path: Path,
    number: signal.Signals,
    after: str,
    options: tuple[str, ...],
) -> None:
    demo = start_program("-m", "everfold", "demo", "--folder", str(tmp_path), *options)
    if after == "start":
        await eventually(lambda: processes_of(tmp_path), 30)
    else:
        await demo.line(after, within_s=90)
    demo.send(number)
    assert await demo.end(within_s=30) == 130, demo
    assert "Traceback" not in str(demo)
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes but the demo itself that this folder is for."""
    found = list[str]()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environ = (place / "environ").read_bytes().decode()
            if str(folder) in line + environ and " demo " not in line:
                found.append(line)
    return found


def pictures(folder: str) -> list[Path]:
    return list(Path(folder).glob("*.png"))


def row(job_id: str, prompt_id: str, started: bool = True) -> dict[str, object]:
    about = {"everfold": {"job_id": job_id, "attempt": 1}}
    return {"prompt_id": prompt_id, "extra_data": about, "started_at": 1.0 if started else None}


WELL = Seen(before_bob=1, blurred=4, blurred_elsewhere=0, while_drained=0)


def judged(
    jobs: list[Job], ledger: list[dict[str, object]], seen: Seen = WELL
) -> tuple[int, int, bool]:
    meant = {"a": "succeeded", "b": "failed"}
    summary = summarize(
        jobs, meant, ledger, seen=seen, recovery_s=1, images=0, outputs="", seconds=1
    )
    return summary.lost, summary.executed_twice, summary.is_good


A, B = Job(job_id="a", status="succeeded"), Job(job_id="b", status="failed")


def test_the_summary_is_good_when_each_job_ended_as_meant_after_one_execution() -> None:
    assert judged([A, B], [row("a", "p"), row("b", "q")]) == (0, 0, True)


def test_the_summary_sees_a_job_without_an_end() -> None:
    open_job = Job(job_id="b", status="running")
    assert judged([A, open_job], [row("a", "p")]) == (1, 0, False)


def test_the_summary_sees_a_second_execution() -> None:
    assert judged([A, B], [row("a", "p"), row("a", "p2")]) == (0, 1, False)


def test_a_prompt_that_was_accepted_and_never_ran_is_no_execution() -> None:
    assert judged([A, B], [row("a", "p"), row("a", "p2", started=False)]) == (0, 0, True)


def test_the_summary_sees_a_job_that_ended_otherwise_than_meant() -> None:
    wrong = Job(job_id="b", status="succeeded")
    assert judged([A, wrong], []) == (0, 0, False)


@pytest.mark.parametrize("fault", ["blurred_elsewhere", "while_drained"])
def test_the_summary_sees_a_job_at_a_server_that_may_not_have_it(fault: str) -> None:
    seen = replace(WELL, **{fault: 1})
    assert judged([A, B], [], seen) == (0, 0, False)


def picture_job(number: int, is_open: bool = False) -> Job:
    return Job(job_id=str(number), status="queued" if is_open else "succeeded")


def test_of_many_jobs_those_that_have_not_ended_and_the_newest_are_shown() -> None:
    jobs = [picture_job(n, is_open=n < 2) for n in range(40)]
    assert [job.job_id for job in shown(jobs, 4)] == ["0", "1", "38", "39"]
    assert shown(jobs[:3], 4) == jobs[:3]
    assert len(shown([picture_job(n, is_open=True) for n in range(40)], 4)) == 4


GOOD = FailoverSummary(
    acknowledged=2,
    during=1,
    succeeded=2,
    lost=0,
    executed_twice=0,
    still_s=3.0,
    primary="b",
    seconds=9.0,
)


@pytest.mark.parametrize("wrong", [{"lost": 1}, {"executed_twice": 1}, {"succeeded": 1}])
def test_a_failover_that_lost_or_repeated_something_is_not_good(wrong: dict[str, int]) -> None:
    assert GOOD.is_good
    assert not replace(GOOD, **wrong).is_good
