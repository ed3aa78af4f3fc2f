from __future__ import annotations

import uuid

from everfold.runner.decisions.attempts import attempt_of


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
