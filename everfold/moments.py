"""Moments as the log writes them, Unix milliseconds, and as people and other programs do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from everfold.streams.errors import InvalidName
from everfold.streams.events.ranges import LATEST_MS, RANGES

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def check_delay(what: str, delay: timedelta) -> float:
    """Return a time from now in seconds. Raises InvalidName for one that is before now or too
    far away."""
    if (seconds := delay.total_seconds()) not in RANGES["delay_s"]:
        raise InvalidName(what, delay, f"use {RANGES['delay_s']}")
    return seconds


def moment_of(time_ms: int) -> datetime | None:
    """Return a time of the log in UTC, None where there is none or no date could show it."""
    return _EPOCH + timedelta(milliseconds=time_ms) if 0 < time_ms <= LATEST_MS else None


def rfc3339(moment: datetime) -> str:
    """Return a moment of UTC with its milliseconds, such as 2026-01-31T12:00:00.000Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_text(time_ms: int) -> str:
    """Return a moment's date and time of day on this machine."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
