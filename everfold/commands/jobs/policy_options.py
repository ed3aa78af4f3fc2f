"""The options of `everfold submit` that make a job's policy: one for each of its fields."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from everfold.commands.numbers import duration, number
from everfold.policy_settings import FIELDS, PolicyValue, read_value
from everfold.streams.errors import InvalidName

POLICY = Group("Policy options", sort_key=5)

Time = float | None


@Parameter(name="*", group=POLICY)
@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """What may be done when things go wrong. What is not set comes from [policy]."""

    retries: Annotated[
        int | None,
        number("retries", "New attempts after a lost server, or a failure that may pass."),
    ] = None
    retry_backoff: Annotated[
        Time, duration("retry_backoff_s", "Wait before the first retry; it doubles with each.")
    ] = None
    crash_limit: Annotated[
        int | None, number("crash_limit", "Runners in a row that the job may take down.")
    ] = None
    queue_deadline: Annotated[
        Time, duration("queue_deadline_s", "Longest wait until it starts.", endless=True)
    ] = None
    run_deadline: Annotated[
        Time, duration("run_deadline_s", "Longest run of one attempt.", endless=True)
    ] = None
    stall_deadline: Annotated[
        Time, duration("stall_deadline_s", "Longest silence of a running attempt.", endless=True)
    ] = None
    backend_away: Annotated[
        Time,
        duration(
            "backend_away_s", "After so long without its server an attempt is lost.", endless=True
        ),
    ] = None
    stop_within: Annotated[
        Time, duration("stop_within_s", "How long a stop may take; then the attempt is abandoned.")
    ] = None
    recovery_max_age: Annotated[
        Time,
        duration(
            "recovery_max_age_s",
            "A job without a living attempt and without a runner for longer expires.",
            endless=True,
        ),
    ] = None

    outputs: Annotated[
        Literal["keep", "collect", "require"] | None,
        Parameter(help="Files of its outputs: stored before it ends, needed for success, or kept."),
    ] = None
    previews: Annotated[
        Literal["skip", "collect"] | None,
        Parameter(help="Whether temporary files count as outputs."),
    ] = None

    def given(self) -> dict[str, PolicyValue]:
        """Return the fields of the policy that flags set."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            FIELDS[key]: None if value == math.inf else value
            for key, value in found.items()
            if value is not None
        }


NONE_GIVEN = PolicyOptions()


def named_settings(settings: list[str]) -> dict[str, PolicyValue]:
    """Return the fields of NAME=VALUE settings. Raises InvalidName."""
    made: dict[str, PolicyValue] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        key = name.replace("-", "_").removesuffix("_s")
        if key not in FIELDS or "=" not in setting:
            rule = f"write it as NAME=VALUE; the names are {', '.join(FIELDS)}"
            raise InvalidName("--policy", setting, rule)
        if FIELDS[key] in made:
            raise InvalidName("--policy", setting, "the name is there twice: give it once")
        made[FIELDS[key]] = read_value(key, text, f"policy {FIELDS[key]}")
    return made
