"""What follows once files were collected, for each policy and each reason why some are missing."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import cast

import pytest
from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import OutputAnswer, OutputFile, SentPictures
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.actions import DecisionInputs, Finish, HandOver, Postpone, Retry
from everfold.runner.decisions.collecting import after_collection, is_to_collect, kills_runners
from everfold.runner.decisions.output_files import Why
from everfold.runner.outputs.output_collection import OutputCollection
from everfold.runner.outputs.places import Places
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.events.event import Canceled, Failed, Failure, Outputs, Policy, Succeeded

NOW_MS = 1_800_000_000_000
EVENT = Succeeded(attempt=1, outputs={"3": {"images": []}}, started_at_ms=5_000, ended_at_ms=9_000)
JOB = Job(
    job_id="j", status="running", attempt=1, attempt_state="accepted", backend="http://a",
    claimed_at_ms=NOW_MS - 60_000, started_at_ms=NOW_MS - 14_000,
    policy=Policy(outputs="require"),
)  # fmt: skip
NOW = DecisionInputs(now_ms=NOW_MS, lease_ttl_s=10.0, submit_grace_s=2.0, held_s=60.0)
EVERY: tuple[Why, ...] = (
    "gone", "unreachable", "too_large", "quota", "store_full", "missed", "skipped",
)  # fmt: skip


def collect(job: Job, *, outputs: str = "collect") -> Job:
    return replace(job, policy=replace(job.policy, outputs=outputs))


@pytest.mark.parametrize("why", EVERY)
def test_without_require_a_missing_file_is_a_mark(why: Why) -> None:
    assert after_collection(collect(JOB), EVENT, {why}, NOW) == Finish(EVENT)


def test_with_all_files_stored_the_job_has_succeeded() -> None:
    assert after_collection(JOB, EVENT, (), NOW) == Finish(EVENT)


@pytest.mark.parametrize("why", EVERY)
def test_required_files_are_made_again_waited_for_or_lost_for_good(why: Why) -> None:
    action = after_collection(JOB, EVENT, {why}, NOW)
    if why in ("gone", "missed"):
        assert isinstance(action, Retry)
        assert (action.failure.code, action.failure.retryable) == ("outputs_lost", True)
    elif why in ("unreachable", "store_full"):
        # 14 s since the start, of which 4 were the run.
        assert action == Postpone(1.0, why=f"its outputs cannot be stored now ({why})")
    else:
        assert isinstance(action, Finish)
        assert isinstance(action.event, Failed)
        assert (action.event.failure.code, action.event.failure.retryable) == (
            "outputs_lost",
            False,
        )
        assert action.event.outputs == EVENT.outputs


@pytest.mark.parametrize("why", ["unreachable", "store_full"])
def test_waiting_ends_after_the_time_that_a_backend_may_be_away(why: Why) -> None:
    waits = replace(JOB, policy=Policy(outputs="require", backend_away_s=11.0))
    assert isinstance(after_collection(waits, EVENT, {why}, NOW), Postpone)
    over = replace(JOB, policy=Policy(outputs="require", backend_away_s=9.0))
    action = after_collection(over, EVENT, {why}, NOW)
    # Another attempt does not help against a full store.
    assert isinstance(action, Retry if why == "unreachable" else Finish)
    ever = replace(JOB, policy=Policy(outputs="require", backend_away_s=None), started_at_ms=1)
    assert after_collection(ever, EVENT, {why}, replace(NOW, held_s=10**9)) == Postpone(
        30.0, why=f"its outputs cannot be stored now ({why})"
    )


def test_a_run_that_was_longer_than_the_time_since_its_intent_ends_the_tries_all_the_same() -> None:
    """The backend's host had its clock set while the attempt ran."""
    stepped = replace(EVENT, started_at_ms=1, ended_at_ms=1_760_000_000_000)
    over = replace(JOB, policy=Policy(outputs="require", backend_away_s=9.0))
    assert isinstance(after_collection(over, stepped, {"unreachable"}, NOW), Retry)
    # Both clocks are right, and `started` was told a moment late.
    exact = replace(EVENT, started_at_ms=5_000, ended_at_ms=20_000)
    assert isinstance(after_collection(over, exact, {"unreachable"}, NOW), Postpone)


def test_without_a_retry_left_lost_outputs_fail_the_job() -> None:
    action = after_collection(replace(JOB, retried=1), EVENT, {"gone"}, NOW)
    assert isinstance(action, Finish)
    assert isinstance(action.event, Failed)


def test_a_canceled_job_waits_for_no_file() -> None:
    job = replace(JOB, cancel_requested_at_ms=NOW_MS - 1, status="canceling", reason="enough")
    for why in EVERY:
        assert after_collection(job, EVENT, {why}, NOW) == Finish(
            Canceled(reason="enough", attempt=1, outputs=EVENT.outputs)
        )
    assert after_collection(job, EVENT, (), NOW) == Finish(EVENT)


def test_a_runner_that_reaches_the_server_gets_the_job() -> None:
    now = replace(NOW, reachable_elsewhere=True)
    for job in (JOB, collect(JOB)):
        assert isinstance(after_collection(job, EVENT, {"unreachable"}, now), HandOver)
        assert not isinstance(after_collection(job, EVENT, {"gone"}, now), HandOver)


def test_what_failed_is_never_more_than_marked() -> None:
    failed = Failed(attempt=1, failure=Failure(code="execution_error", message=""))
    for why in EVERY:
        assert after_collection(JOB, failed, {why}, NOW) == Finish(failed)
    assert not is_to_collect(JOB, failed)
    assert is_to_collect(JOB, replace(failed, outputs=EVENT.outputs))
    assert not is_to_collect(collect(JOB, outputs="keep"), EVENT)


def test_a_job_over_which_runners_die_is_ended_without_its_files_before_it_takes_down_all() -> None:
    died = [replace(JOB, crashes_in_a_row=count) for count in (3, 9, 10, 50)]
    assert [kills_runners(job) for job in died] == [False, False, True, True]
    patient = replace(JOB, crashes_in_a_row=10, policy=Policy(crash_limit=20))
    assert not kills_runners(patient)


def test_files_that_are_skipped_are_asked_of_nobody() -> None:
    def ask(_: OutputFile) -> AbstractAsyncContextManager[OutputAnswer]:
        raise AssertionError("no file is asked for")

    config, assets = RunnerConfig(name="r"), cast("AssetStore", None)
    sent = SentPictures(pictures=(b"x",), is_whole=True)
    collection = OutputCollection(config, assets, Places(), JOB, ask, {"5": sent})
    outputs: Outputs = {"3": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}
    found = collection.skipped(outputs)
    images = [cast("list[dict[str, object]]", node["images"]) for node in found.outputs.values()]
    marked = [*images[0], *images[1]]
    assert found.missing == {"skipped"}
    assert len(marked) == 2
    assert all(one["why"] == "skipped" for one in marked)
