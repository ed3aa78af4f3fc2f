"""Checks a policy before a job has it, and bounds what was stored unchecked.

Rule: pure. A number or a word that nobody can mean is refused at submit; one that is in the log
already never breaks a runner.
"""

from __future__ import annotations

from msgspec.structs import fields, replace

from everfold.streams.errors import InvalidName
from everfold.streams.events.event import Policy
from everfold.streams.events.ranges import LONGEST_S, RANGES, check_numbers

NAMES = tuple(field.name for field in fields(Policy))
WORDS = {"outputs": ("keep", "collect", "require"), "previews": ("skip", "collect")}
"""Fields that are one of several words."""
NUMBERS = tuple(name for name in NAMES if name not in WORDS)
COUNTS = tuple(name for name in NUMBERS if RANGES[name].is_whole)
"""Every other number is a time in seconds."""


def check_policy(policy: object) -> Policy:
    """Return the policy. Raises InvalidName, which names the field, what it is and may be."""
    if not isinstance(policy, Policy):
        raise InvalidName("policy", policy, "pass an everfold.Policy")
    check_numbers(policy, NUMBERS, "policy")
    for name in WORDS:
        check_word(f"policy {name}", getattr(policy, name), name)
    return policy


def check_word(what: str, value: object, name: str) -> None:
    """Raise InvalidName, which calls it `what`, unless a value is a word of the field `name`."""
    if not isinstance(value, str) or value not in WORDS[name]:
        raise InvalidName(what, value, f"use {one_of(name)}")


def one_of(name: str) -> str:
    """Return the words of a field, for people."""
    *words, last = WORDS[name]
    return f"{', '.join(words)} or {last}"


def bounded(policy: Policy) -> Policy:
    """Return the policy with each number that makes no sense replaced by the nearest that does, and
    such a word by the default."""
    if policy == _DEFAULT and not any(isinstance(getattr(policy, n), bool) for n in _LIKE_BOOLS):
        return policy
    odd: dict[str, object] = {
        name: RANGES[name].nearest(value, getattr(_DEFAULT, name) or LONGEST_S)
        for name in NUMBERS
        if (value := getattr(policy, name)) not in RANGES[name]
    }
    odd |= {n: getattr(_DEFAULT, n) for n in WORDS if getattr(policy, n) not in WORDS[n]}
    return replace(policy, **odd) if odd else policy


_DEFAULT = Policy()
_LIKE_BOOLS = tuple(name for name in NUMBERS if getattr(_DEFAULT, name) in (0, 1))
"""Fields whose default is equal to True or False, which are no numbers."""
