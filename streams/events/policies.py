"""Checks the numbers of a policy before a job has it, and bounds those that were stored unchecked.

Rule: pure. A number that nobody can mean is refused at submit; one that is in the log already never
breaks a runner.
"""

from __future__ import annotations

from msgspec.structs import fields, replace

from everfold.streams.errors import InvalidName
from everfold.streams.events.event import Policy
from everfold.streams.events.ranges import LONGEST_S, RANGES, check_numbers

NAMES = tuple(field.name for field in fields(Policy))
COUNTS = tuple(name for name in NAMES if RANGES[name].is_whole)
"""Everything else is a time in seconds."""


def check_policy(policy: object) -> Policy:
    """Return the policy. Raises InvalidName, which names the number, what it is and may be."""
    if not isinstance(policy, Policy):
        raise InvalidName("policy", policy, "pass an everfold.Policy")
    check_numbers(policy, NAMES, "policy")
    return policy


def bounded(policy: Policy) -> Policy:
    """Return the policy with each number that makes no sense replaced by the nearest that does."""
    odd = {
        name: RANGES[name].nearest(value, getattr(_DEFAULT, name) or LONGEST_S)
        for name in NAMES
        if (value := getattr(policy, name)) not in RANGES[name]
    }
    return replace(policy, **odd) if odd else policy


_DEFAULT = Policy()
