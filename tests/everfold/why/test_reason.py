"""The one reason why a job waits: each rule alone, and which of two comes first."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.streams.events.event import Failure
from everfold.why.reason import Count, Facts, KnownBackend, ServingRunner, WhyCode, reason

NOW_MS = 1_000_000_000
RUNNER = ServingRunner("r1", 0.5, serves=True)
GPU1 = KnownBackend("gpu1")
WAITING = Facts(job=Job(job_id="j"), now_ms=NOW_MS, runners=(RUNNER,), backends=(GPU1,), position=0)
OOM = Failure(code="out_of_memory", message="24 GB\nare too few")


def at(job: Job, **fields: object) -> Facts:
    return replace(WAITING, job=job, at="gpu1", **fields)


def waits(**fields: object) -> Facts:
    return replace(WAITING, **fields)


def ago(seconds: float) -> int:
    return NOW_MS - int(seconds * 1000)


SENT = Job(owner="r1", attempt=1, attempt_state="accepted", backend="http://gpu1")
RUNS = replace(SENT, status="running", started_at_ms=ago(12), progress=0.5)
LIMIT = Count("user", "ada", 2, 2)
REFUSES = KnownBackend("gpu1", "answers 401")

TABLE: list[tuple[WhyCode, Facts, str]] = [
    ("ended", at(Job(status="succeeded")), "it has succeeded"),
    ("ended", at(Job(status="canceled", reason="enough")), "it was canceled: enough"),
    ("ended", at(Job(status="failed", error=OOM)),
     "it has failed: out_of_memory: 24 GB are too few"),
    ("ended", at(Job(status="expired", reason="stale")), "it has expired: stale"),
    ("unreadable", waits(is_blocked=True),
     "the runners that are here cannot read one of its events: upgrade them"),
    ("canceling", at(replace(RUNS, status="canceling", cancel_requested_at_ms=ago(3))),
     "canceling for 3 s: its prompt is at gpu1"),
    ("runner_gone", at(RUNS, runners=(ServingRunner("r1", 40, serves=True),)),
     "runner r1, which has it, was last heard of 40 s ago; another one takes it over"),
    ("stopping", at(replace(RUNS, stopping="stalled", stopping_at_ms=ago(4))),
     "its prompt at gpu1 is being stopped for 4 s: stalled"),
    ("running", at(RUNS), "running on gpu1 for 12 s, 50%"),
    ("running", at(replace(RUNS, left_s=45, updated_at_ms=ago(5))),
     "running on gpu1 for 12 s, 50%, about 40 s left"),
    ("running", at(RUNS, at_why="no answer for 30 s"),
     "running on gpu1 for 12 s, 50%; no answer for 30 s"),
    ("at_server", at(SENT, at_busy=3), "it waits in the own queue of gpu1, where 3 prompts run or "
     "wait"),
    ("starting", at(replace(SENT, attempt_state="intended")), "it is being sent to gpu1"),
    ("starting", waits(job=Job(owner="r1")), "runner r1 has it and chooses a server"),
    ("retry", waits(job=Job(attempt=1, attempt_state="over", retried=1, error=OOM),
                    due_ms=NOW_MS + 20_000),
     "retry in 20 s after out_of_memory: 24 GB are too few"),
    ("retry", waits(job=Job(attempt=1, attempt_state="over", reason="turned_away"),
                    due_ms=NOW_MS + 2_000), "retry in 2 s after turned_away"),
    ("not_before", waits(job=Job(run_at_ms=NOW_MS + 7_200_000), due_ms=NOW_MS + 7_200_000),
     "it starts in 2 h, not before its time"),
    ("queue_paused", waits(paused_by="ada", pause_reason="new disk"),
     "queue default is paused by ada (new disk)"),
    ("no_runner", waits(runners=()), "no runner serves queue default"),
    ("no_runner", waits(runners=(ServingRunner("r1", 1, serves=False),)),
     "no runner serves queue default"),
    ("no_runner", waits(runners=(ServingRunner("r1", 60, serves=True),)),
     "no runner serves queue default: r1 was last heard of 1 min ago"),
    ("at_limit", waits(limits=(LIMIT,)), "at its limit: user ada runs 2 of 2"),
    ("nothing_fits", waits(missing="no server has node X (nearest: Y)",
                           backends=(replace(GPU1, can_run=False),)),
     "no server has node X (nearest: Y)"),
    ("no_backend", waits(backends=(REFUSES,)), "gpu1 takes no jobs: answers 401"),
    ("no_backend", waits(backends=(REFUSES, replace(GPU1, name="gpu2", can_run=False))),
     "gpu1 takes no jobs: answers 401"),
    ("no_backend", waits(backends=()), "runner r1 has no backend"),
    ("behind_others", waits(position=1),
     "all servers are busy: it stands behind 1 other in queue default"),
    ("behind_others", waits(position=12, backends=(GPU1, REFUSES)),
     "all servers are busy: it stands behind 12 others in queue default"),
    ("next", waits(), "it is the next in queue default: a runner takes it when a server has room"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "facts", "sentence"), TABLE)
def test_each_rule(code: WhyCode, facts: Facts, sentence: str) -> None:
    found = reason(facts)
    assert (found.code, found.sentence) == (code, sentence)


def test_every_code_has_a_row() -> None:
    assert {code for code, _, _ in TABLE} == set(get_args(WhyCode))


EVERYTHING = waits(
    job=Job(run_at_ms=NOW_MS + 9_000),
    due_ms=NOW_MS + 9_000,
    is_blocked=True,
    paused_by="ada",
    runners=(),
    limits=(LIMIT,),
    missing="no server has node X",
    backends=(REFUSES,),
    position=3,
)
MENDED: list[tuple[WhyCode, dict[str, object]]] = [
    ("unreadable", {"is_blocked": False}),
    ("not_before", {"due_ms": 0}),
    ("queue_paused", {"paused_by": ""}),
    ("no_runner", {"runners": (RUNNER,)}),
    ("at_limit", {"limits": ()}),
    ("nothing_fits", {"missing": ""}),
    ("no_backend", {"backends": (GPU1,)}),
    ("behind_others", {"position": 0}),
    ("next", {}),
]


def test_who_mends_one_reason_after_another_gets_them_in_order() -> None:
    facts, found = EVERYTHING, list[str]()
    for _, mended in MENDED:
        found.append(reason(facts).code)
        facts = replace(facts, **mended)
    assert found == [code for code, _ in MENDED]


def test_a_limit_with_room_is_no_reason() -> None:
    assert reason(waits(limits=(Count("user", "ada", 1, 2),))).code == "next"


def test_a_released_job_whose_prompt_may_run_waits_for_a_runner() -> None:
    assert reason(at(replace(RUNS, owner=""), runners=())).code == "no_runner"
    assert reason(at(replace(RUNS, owner=""))).code == "running"


def test_a_sentence_is_one_line_of_bounded_length() -> None:
    found = reason(waits(paused_by="ada", pause_reason="x\ny" * 1000))
    assert "\n" not in found.sentence
    assert len(found.sentence) <= 500
