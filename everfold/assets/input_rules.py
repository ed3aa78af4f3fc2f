"""What a client takes as files for inputs of a job.

Rule: pure. Each number is checked before anything is read.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import InvalidName
from everfold.streams.events.limits import FETCH_LIMIT_BYTES, FETCH_WITHIN_S, INPUT_LIMIT_BYTES
from everfold.streams.events.ranges import check_number

FETCH_SILENCE_S = 20.0


class InputRules(Struct, frozen=True, kw_only=True):
    """Limits of the files that a submit is given. Raises InvalidName when they make no sense."""

    allow_private: bool = False
    """URLs may lead to addresses that are not of the public internet."""
    limit_bytes: int = INPUT_LIMIT_BYTES
    """Of one file."""
    fetch_limit_bytes: int = FETCH_LIMIT_BYTES
    """Of one file from a URL."""
    fetch_within_s: float = FETCH_WITHIN_S
    """For reading one URL, redirects included."""
    fetch_silence_s: float = FETCH_SILENCE_S
    """Longest time in which nothing comes."""

    def __post_init__(self) -> None:
        if not isinstance(self.allow_private, bool):
            raise InvalidName("allow_private", self.allow_private, "it is True or False")
        check_number("limit_bytes", self.limit_bytes, "input_limit_bytes")
        check_number("fetch_limit_bytes", self.fetch_limit_bytes)
        check_number("fetch_within_s", self.fetch_within_s)
        check_number("fetch_silence_s", self.fetch_silence_s)


def check_rules(rules: object) -> InputRules:
    """Return the rules, the usual ones for None. Raises InvalidName for anything else."""
    if rules is None:
        return InputRules()
    if not isinstance(rules, InputRules):
        raise InvalidName("input_rules", rules, "pass an everfold.InputRules")
    return rules
