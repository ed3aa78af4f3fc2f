"""A caller's datetimes as the log writes times: Unix milliseconds."""

from __future__ import annotations

from datetime import datetime

from everfold.streams.errors import InvalidName
from everfold.streams.events.ranges import RANGES


def check_moment(what: str, moment: object) -> int | None:
    """Return a moment as Unix milliseconds, None for None; one without a zone is local.

    Raises InvalidName for what is no datetime, or none of the years 1970 to 9998.
    """
    if moment is None:
        return None
    try:
        time_ms = int(moment.timestamp() * 1000) if isinstance(moment, datetime) else -1
    except Exception:  # the year 1 is before every clock, and a zone may raise anything
        time_ms = -1
    if time_ms not in RANGES["run_at_ms"]:
        said = str(moment.replace(tzinfo=None)) if type(moment) is datetime else moment
        raise InvalidName(what, said, "use a datetime of the years 1970 to 9998")
    return time_ms
