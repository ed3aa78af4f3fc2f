"""Checks the numbers of a policy before a job has it, and bounds those that were stored unchecked.

Rule: pure. A number that nobody can mean is refused at submit; one that is in the log already never
breaks a runner.
"""

from __future__ import annotations

from msgspec.structs import fields, replace

from everfold.streams.errors import InvalidName
from everfold.streams.events.event import Policy

LONGEST_S = 10 * 365 * 86_400.0
"""Ten years: the largest of all times. For ever is None, where a policy may say that."""

MOST_TIMES = 1_000
"""The largest of all counts."""

SHORTEST_S = 0.001

COUNTS = {"retries": 0, "crash_limit": 1}
"""Count -> its least value. Everything else is a time in seconds."""

FROM_ZERO = ("retry_backoff_s",)
"""Times that may be 0."""

NAMES = tuple(field.name for field in fields(Policy))
ENDLESS = tuple(field.name for field in fields(Policy) if "None" in str(field.type))
"""Times that may be None, for no limit."""


def check_policy(policy: object) -> Policy:
    """Return the policy. Raises InvalidName, which names the number, what it is and may be."""
    if not isinstance(policy, Policy):
        raise InvalidName("policy", policy, "pass an everfold.Policy")
    for name in NAMES:
        value = getattr(policy, name)
        if not _is_sane(name, value):
            raise InvalidName(f"policy {name}", value, _rule(name))
    return policy


def bounded(policy: Policy) -> Policy:
    """Return the policy with each number that makes no sense replaced by the nearest that does."""
    odd = {
        name: _nearest(name, value)
        for name in NAMES
        if not _is_sane(name, value := getattr(policy, name))
    }
    return replace(policy, **odd) if odd else policy


def _is_sane(name: str, value: object) -> bool:
    if value is None:
        return name in ENDLESS
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in COUNTS:
        return isinstance(value, int) and COUNTS[name] <= value <= MOST_TIMES
    return _least_s(name) <= value <= LONGEST_S


def _least_s(name: str) -> float:
    return 0.0 if name in FROM_ZERO else SHORTEST_S


def _nearest(name: str, value: object) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, int | float) or not is_number or value != value:  # NaN
        default: int | float = getattr(Policy(), name) or LONGEST_S
        return default
    if name in COUNTS:
        return int(_between(COUNTS[name], value, MOST_TIMES))
    return _between(_least_s(name), value, LONGEST_S)


def _between(least: float, value: float, most: float) -> float:
    return min(max(value, least), most)


def _rule(name: str) -> str:
    if name in COUNTS:
        return f"use a whole number from {COUNTS[name]} to {MOST_TIMES:,}"
    least = "0" if name in FROM_ZERO else "more than 0"
    endless = ", or None for no limit" if name in ENDLESS else ""
    return f"use seconds, {least} to {LONGEST_S:,.0f}{endless}"
