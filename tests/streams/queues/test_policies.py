"""The numbers of a policy: refused at submit with a sentence, bounded where they are stored."""

from __future__ import annotations

import math
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from everfold.commands.jobs.policy_options import named_settings
from everfold.projector.job.fold import fold
from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName, JobUnknown
from everfold.streams.events.event import Policy, Submitted
from everfold.streams.events.policies import COUNTS, NAMES, NUMBERS, WORDS, bounded, check_policy
from everfold.streams.events.ranges import RANGES
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events

ODD: tuple[object, ...] = (
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -0.5,
    True,
    10**400,
    1e308,
    "3",
    [],
    {},
)
GRAPH = {"1": {"class_type": "A", "inputs": {}}}


def changed(name: str, value: object) -> Policy:
    return replace(Policy(), **{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_nobody_can_mean_is_refused_with_a_sentence(name: str) -> None:
    least = [0.5, 0] if name == "crash_limit" else [0.5] if name in COUNTS else []
    for value in (*ODD, *least, *([] if RANGES[name].is_endless else [None])):
        with pytest.raises(InvalidName, match=f"policy {name} .* is not usable: use ") as refused:
            check_policy(changed(name, value))
        assert len(str(refused.value)) < 300
    assert check_policy(Policy()) == Policy()


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_there_is_not_is_refused_with_those_that_there_are(name: str) -> None:
    for value in (*ODD, None, "", "Collect", "collect "):
        with pytest.raises(
            InvalidName, match=f"policy {name} .* is not usable: use .* or {WORDS[name][-1]}"
        ):
            check_policy(changed(name, value))
    for word in WORDS[name]:
        assert check_policy(changed(name, word)) == changed(name, word)


@example("retries", True)  # equal to the default, and no number
@given(st.sampled_from(NAMES), st.sampled_from(ODD) | st.floats() | st.integers() | st.none())
def test_whatever_is_stored_becomes_a_policy_that_passes_the_check(
    name: str, value: object
) -> None:
    stored = changed(name, value)
    found = bounded(stored)
    assert check_policy(found) == found
    assert bounded(found) == found
    for other in NAMES:
        assert other == name or getattr(found, other) == getattr(Policy(), other)


@given(st.sampled_from(NUMBERS), st.floats(allow_nan=False) | st.integers())
def test_a_stored_policy_is_folded_within_bounds(name: str, value: object) -> None:
    event = Submitted(
        kind="", user="", queue="q", priority="normal", workflow="", metadata={},
        policy=changed(name, value),
    )  # fmt: skip
    job = fold([Recorded("1-0", "j", 1, 0, "0-0", event, b"")])
    assert check_policy(job.policy) == job.policy


@pytest.mark.anyio
async def test_nothing_is_written_for_a_refused_policy(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        for number, policy in enumerate(
            (changed("crash_limit", 0), changed("retries", math.nan), 3)
        ):
            with pytest.raises(InvalidName, match="policy"):
                await log.submit(GRAPH, job_id=f"j{number}", policy=cast("Policy", policy))
            with pytest.raises(JobUnknown):
                await job_events(log, f"j{number}")


def test_a_policy_is_written_as_settings() -> None:
    given = ["retries=3", "run_deadline_s=15m", "backend-away=none", "stop_within=5"]
    given += ["outputs=Require", "previews=collect"]
    made = Policy(**named_settings(given))  # type: ignore[arg-type]
    assert made == Policy(
        retries=3, run_deadline_s=900.0, backend_away_s=None, stop_within_s=5.0,
        outputs="require", previews="collect",
    )  # fmt: skip
    odd_ones = (
        "retries=-1",
        "retries=x",
        "run_deadline_s=nan",
        "stop_within_s=none",
        "x=1",
        "outputs=all",
    )
    for odd in (*odd_ones, "y", "retries"):
        with pytest.raises(InvalidName):
            named_settings([odd])
