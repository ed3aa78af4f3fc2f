"""The prompt ids by which ComfyUI's clients know jobs."""

from __future__ import annotations

import pytest

from everfold.projector.job.job import Job
from everfold.streams.events.ids import job_id_for, new_job_id
from everfold.web.comfyui.prompt_ids import is_prompt_id, job_ids_of, key_of, prompt_id_of

CHOSEN = "3f2a1b4c-5d6e-4f70-8a9b-0c1d2e3f4a5b"


def test_a_chosen_id_leads_to_its_job_and_back() -> None:
    job_id = job_id_for("generation", "ann", key_of(CHOSEN))
    job = Job(job_id=job_id, user="ann", idempotency_key=key_of(CHOSEN))

    assert job_ids_of("generation", "ann", CHOSEN)[0] == job_id
    assert prompt_id_of(job) == prompt_id_of(job, "ann") == CHOSEN


def test_any_other_job_is_known_by_its_job_id() -> None:
    job = Job(job_id=new_job_id(), idempotency_key="mine")

    assert prompt_id_of(job) == job.job_id
    assert job.job_id in job_ids_of("generation", "", job.job_id)


def test_two_users_may_choose_the_same_id() -> None:
    ann, bob = (job_ids_of("generation", user, CHOSEN)[0] for user in ("ann", "bob"))
    job = Job(job_id=bob, user="bob", idempotency_key=key_of(CHOSEN))

    assert ann != bob
    assert prompt_id_of(job, "ann") == bob


def test_a_key_that_only_looks_chosen_is_no_prompt_id() -> None:
    job = Job(job_id=new_job_id(), idempotency_key="prompt:<script>")

    assert prompt_id_of(job) == job.job_id


@pytest.mark.parametrize(
    "odd", [None, 7, "", "None", CHOSEN.upper(), CHOSEN + "\n", "{" + CHOSEN + "}", "a/b c"]
)
def test_what_is_no_canonical_uuid_is_no_prompt_id(odd: object) -> None:
    assert not is_prompt_id(odd)
    assert job_ids_of("generation", "", str(odd)) == ()
