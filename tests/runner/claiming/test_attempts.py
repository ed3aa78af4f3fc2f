from __future__ import annotations

import uuid

import pytest

from everfold.projector.job.job import Job
from everfold.runner.decisions.attempts import attempt_of, forgotten


def test_an_attempt_has_the_same_ids_every_time() -> None:
    assert attempt_of("job", 1, "generation") == attempt_of("job", 1, "generation")


def test_attempts_jobs_and_generations_never_share_an_id() -> None:
    attempts = [
        attempt_of(job, number, generation)
        for job in ("a", "b")
        for number in (1, 2)
        for generation in ("x", "y")
    ]
    assert len({attempt.prompt_id for attempt in attempts}) == 8
    assert len({attempt.client_id for attempt in attempts}) == 8


def test_a_prompt_id_is_a_canonical_uuid_as_newer_servers_demand() -> None:
    prompt_id = attempt_of("job", 1, "generation").prompt_id
    assert str(uuid.UUID(prompt_id)) == prompt_id


SEEN = Job(job_id="job", attempt=2, attempt_state="accepted", started_at_ms=7)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Job(attempt=1, attempt_state="over"), ["Submitting", "Queued", "Started"]),
        (Job(attempt=2, attempt_state="intended"), ["Queued", "Started"]),
        (SEEN, []),
        # Another runner has taken the job over, and found that nothing of this attempt arrived.
        (Job(attempt=2, attempt_state="over"), []),
        (Job(attempt=3, attempt_state="intended"), []),
        (Job(attempt=2, attempt_state="over", status="succeeded"), []),
    ],
)
def test_a_log_is_told_of_an_attempt_that_it_does_not_know_to_be_over(
    found: Job, told: list[str]
) -> None:
    assert [type(event).__name__ for event in forgotten(SEEN, found)] == told
