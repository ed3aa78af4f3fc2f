"""Options that take a number: a duration, a count, a size; and those of a limited size.

Rule: every such option is made here, so that each is checked against its range in
streams/events/ranges.py before anything is done, and its help ends with that range. Of texts and
files the help ends with their limit in streams/events/limits.py; what takes them checks it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cyclopts import Parameter

from everfold.commands.times import A_DURATION
from everfold.durations import DAY_S, ENDLESS, duration_s
from everfold.streams.errors import Misconfigured
from everfold.streams.events.limits import LIMITS
from everfold.streams.events.ranges import RANGES, Range

if TYPE_CHECKING:
    from cyclopts import Token

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]+)?")


class InRange:
    """Reads an option, and checks it against a row of RANGES."""

    def __init__(
        self, name: str, read: Callable[[str], float | None], wanted: str, ends: str, *, many: bool
    ) -> None:
        self.name, self.many = name, many
        self.ends = ends
        """The range in words, as help and errors show it."""
        self._read, self._wanted = read, wanted

    @property
    def allowed(self) -> Range:
        return RANGES[self.name]

    def __call__(self, _: object, tokens: Sequence[Token]) -> object:
        """Return the number, or a tuple for an option of several. Raises Misconfigured."""
        if self.many:
            return tuple(map(self._number, tokens))
        if len(tokens) > 1:
            raise Misconfigured(f"{tokens[0].keyword} is there {len(tokens)} times: give it once")
        return self._number(tokens[0])

    def _number(self, token: Token) -> float:
        number = self._read(token.value)
        if number == math.inf and self.allowed.is_endless:
            return number
        if number is None:
            raise Misconfigured(f"{token.keyword} {token.value!r} is not {self._wanted}")
        if number not in self.allowed:
            raise Misconfigured(f"{token.keyword} {token.value!r} is out of range: {self.ends}")
        return number


def duration(
    name: str, what: str, *, endless: bool = False, variable: str | None = None
) -> Parameter:
    """Return the parameter of a duration; `name` is the row of RANGES, `what` the help.

    Where it may be `endless`, `none` is taken, too, and read as infinity. `variable` sets it, too.
    """
    reading = _duration(name, many=False, endless=endless)
    text = _help(what, reading)
    return Parameter(
        converter=reading,
        metavar="DURATION",
        show_default=_seconds,
        help=text,
        env_var=variable,
    )


def durations(name: str, what: str) -> Parameter:
    """Return the parameter of an option that may be repeated, each time with a duration."""
    reading = _duration(name, many=True)
    return Parameter(converter=reading, metavar="DURATION...", help=_help(what, reading))


def _duration(name: str, *, many: bool, endless: bool = False) -> InRange:
    allowed, more = RANGES[name], f", or {ENDLESS}" if endless else ""
    ends = f"from {allowed.least:g}s to {_seconds(allowed.most)}{more}"
    read = _duration_or_none if endless else duration_s
    return InRange(name, read, f"a duration: {A_DURATION}{more}", ends, many=many)


def _duration_or_none(text: str) -> float | None:
    return math.inf if text.strip().lower() == ENDLESS else duration_s(text)


def number(name: str, what: str, *, variable: str | None = None) -> Parameter:
    """Return the parameter of a count, a size, or another number; as `duration` does."""
    allowed = RANGES[name]
    ends = f"{allowed.ends} {allowed.unit}".rstrip()
    read = _whole if allowed.is_whole else _any
    reading = InRange(name, read, allowed.kind, ends, many=False)
    return Parameter(converter=reading, help=_help(what, reading), env_var=variable)


def at_most(limit: str, what: str) -> Parameter:
    """Return the parameter of a text or a file; `limit` is the row of LIMITS, `what` the help."""
    row = next(row for row in LIMITS if row.what == limit)
    return Parameter(help=f"{what} At most {row.most:,} {row.unit}.")


def range_of(parameter: Parameter) -> InRange | None:
    """Return what an option is checked against, None for one that is no number."""
    return parameter.converter if isinstance(parameter.converter, InRange) else None


def _help(what: str, reading: InRange) -> str:
    return f"{what} {reading.ends.capitalize()}."


def _whole(text: str) -> float | None:
    found = _NUMBER.fullmatch(text.strip())
    return int(text) if found and "." not in text else None


def _any(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _seconds(seconds: object) -> str | None:
    """Return a default in whole days, else in seconds."""
    if not isinstance(seconds, int | float):
        return None
    days, rest = divmod(seconds, DAY_S)
    return f"{seconds:g}s" if rest or not days else f"{days:.0f}d"
