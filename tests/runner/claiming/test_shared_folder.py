"""Which listed server a job means, and what the clock of a server's host may say of its pace."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import Load
from everfold.runner.execution.job_backend import JobBackend
from everfold.streams.events.event import Succeeded
from everfold.streams.leases.backends import Abandoned
from tests.runner.claiming.test_fleet import Shown, fleet


def test_of_servers_that_share_an_input_folder_a_job_means_the_one_at_its_own_address() -> None:
    one = fleet(Shown("http://a", Load(0, 0)), Shown("http://b", Load(0, 0)))
    for here in one.states:
        here.server = "server-1"
    first, second = one.states
    second.update(Load(0, 0), 0, now_s=0.0)
    assert not first.reachable
    assert second.reachable
    assert one.state_of("http://a", "server-1") is first
    # Only what has moved to another address is looked for by its identity.
    assert one.state_of("http://old", "server-1") is second
    told = Abandoned(
        backend="http://a", job_id="j", attempt=1, prompt_id="p", client_id="c", since_ms=1,
        server="server-1",
    )  # fmt: skip
    assert one.has_taken(first, told)
    assert not one.has_taken(second, told)
    assert one.has_taken(second, replace(told, backend="http://old"))


@pytest.mark.parametrize(("ended_ms", "noted_s"), [(31_000, 30.0), (1_760_000_000_000, None)])
def test_a_run_that_was_longer_than_the_time_since_its_intent_says_nothing_of_the_pace(
    ended_ms: int, noted_s: float | None
) -> None:
    one = fleet(Shown("http://a", Load(0, 0)))
    ran = Job(
        job_id="j", backend="http://a", submitting_at_ms=1_800_000_000_000,
        updated_at_ms=1_800_000_030_500,
    )  # fmt: skip
    event = Succeeded(attempt=1, outputs={}, started_at_ms=1_000, ended_at_ms=ended_ms)
    JobBackend(one).note_run(ran, event)
    assert one.states[0].pace_s == noted_s
