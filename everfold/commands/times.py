"""Points in time, as people write them for an option, and the words for durations.

Rule: every option that takes a point in time has a type of this file.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everfold.durations import duration_s
from everfold.streams.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

A_DURATION = "write a duration such as 90s, 15m, 2h or 7d; a plain number is seconds"
A_TIME = "write an age such as 90s, 15m, 2h or 7d, or a time such as 2030-01-31T12:00:00Z"
A_LATER_TIME = "write a time such as 2030-01-31T12:00:00Z, or 15m or 2h for that long from now"


def moment(text: str, *, from_now: int = -1) -> datetime | None:
    """Return the point in time that an age such as `2h` or an ISO 8601 time names, with its zone.

    A time without a zone is one of this machine's. None if it is neither.
    """
    text = text.strip()
    seconds = None if text.isdigit() else duration_s(text)
    try:
        if seconds is not None:
            return datetime.now(UTC) + timedelta(seconds=from_now * seconds)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def to_ms(time: datetime) -> int:
    """Return a time as the log writes it: milliseconds since 1970."""
    return int(time.timestamp() * 1000)


def _past(_: object, tokens: Sequence[Token]) -> datetime:
    return _time(tokens[0], -1, A_TIME)


def _future(_: object, tokens: Sequence[Token]) -> datetime | timedelta:
    text = tokens[0].value.strip()
    seconds = None if text.isdigit() else duration_s(text)
    with suppress(OverflowError):
        return _time(tokens[0], 1, A_LATER_TIME) if seconds is None else timedelta(seconds=seconds)
    return _time(tokens[0], 1, A_LATER_TIME)


def _time(token: Token, from_now: int, wanted: str) -> datetime:
    found = moment(token.value, from_now=from_now)
    if found is None:
        raise Misconfigured(f"{token.keyword} {token.value!r} is not a time: {wanted}")
    return found


PastTime = Annotated[datetime, Parameter(converter=_past, metavar="TIME")]
FutureTime = Annotated[datetime | timedelta, Parameter(converter=_future, metavar="TIME")]
