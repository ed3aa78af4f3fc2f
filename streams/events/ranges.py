"""The ranges of all numbers that a caller or a config file gives, by the name of their argument.

Rule: pure, and each range stands here alone: the checks, the schema, `--help` and the documents
show it from here. A number that nobody can mean is refused before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from msgspec import Struct

from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.limits import KIB, MIB

LONGEST_S = 10 * 365 * 86_400.0
"""Ten years: the largest of all times. For ever is None, where an argument may say that."""

SHORTEST_S = 0.001

MOST_TIMES = 1_000
"""The largest of most counts."""

LATEST_MS = 253_370_764_800_000
"""The first day of the year 9999: later times cannot be shown in every zone."""


class Range(Struct, frozen=True):
    """What a number may be, both ends included."""

    least: float
    most: float
    unit: str = ""
    """`seconds`, `bytes`, `Unix ms`, or empty for a count."""
    is_whole: bool = False
    is_endless: bool = False
    """None is allowed, for no limit or no number."""

    @property
    def kind(self) -> str:
        return "a whole number" if self.is_whole else "a number"

    @property
    def ends(self) -> str:
        return f"from {self.least:,g} to {self.most:,.0f}"

    def __str__(self) -> str:
        allowed = f"{self.unit or self.kind} {self.ends}"
        return f"{allowed}, or None" if self.is_endless else allowed

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.is_endless
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        return self.least <= value <= self.most  # of NaN neither is true

    def nearest(self, value: object, default: float) -> float:
        """Return the number of the range that is nearest, the default where there is none."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, int | float) or not is_number or value != value:  # NaN
            return default
        inside = min(max(self.least, value), self.most)
        return int(inside) if self.is_whole else inside


def _count(least: int, most: int = MOST_TIMES) -> Range:
    return Range(least, most, is_whole=True)


def _seconds(least: float = 0, *, is_endless: bool = False) -> Range:
    return Range(least, LONGEST_S, "seconds", is_endless=is_endless)


_PERIOD = _seconds(SHORTEST_S)
_PLACE = Range(0, 2**60, "bytes", is_whole=True)
_DEADLINE = _seconds(SHORTEST_S, is_endless=True)
_SEQUENCE = _count(0, 2**53)

RANGES = {
    # Of a policy.
    "retries": _count(0),
    "crash_limit": _count(1),
    "retry_backoff_s": _seconds(),
    "recovery_max_age_s": _DEADLINE,
    "queue_deadline_s": _DEADLINE,
    "run_deadline_s": _DEADLINE,
    "stall_deadline_s": _DEADLINE,
    "backend_away_s": _DEADLINE,
    "stop_within_s": _PERIOD,
    # Of calls.
    "run_at_ms": Range(0, LATEST_MS, "Unix ms", is_whole=True, is_endless=True),
    "delay_s": _seconds(is_endless=True),
    "after_seq": _SEQUENCE,
    "at_least_seq": _SEQUENCE,
    "index": _count(0),
    "start": _PLACE,
    "end": _PLACE,
    "expected": _count(-1, 2**53),
    "epoch": _count(-1, 2**53),
    "limit": _count(1, 2**31),
    "most": _count(1),
    "wait_s": _seconds(),
    "wait_timeout_s": _seconds(is_endless=True),
    "cancel_within_s": _seconds(),
    "partitions": _count(1, 1024),
    "replicas": _count(0, 16),
    "replicas_within_s": Range(0.01, 10, "seconds"),
    "running_limit": Range(0, 1_000_000),
    "waiting_limit": Range(0, 100_000_000),
    "share_limit": Range(0.01, 100),
    "assets_limit": Range(0, 2**50, "bytes"),
    "keep_s": _seconds(is_endless=True),
    "grace_s": _seconds(),
    # Of a runner.
    "slots": _count(1),
    "lease_ttl_s": _PERIOD,
    "renew_every_s": _PERIOD,
    "lease_margin_s": _seconds(),
    "stuck_after_s": _PERIOD,
    "sweep_every_s": _PERIOD,
    "suspect_after_s": _seconds(),
    "poll_every_s": _PERIOD,
    "room_within_s": _seconds(),
    "truth_every_s": _PERIOD,
    "truth_while_stopping_s": _PERIOD,
    "silent_after_s": _PERIOD,
    "submit_grace_s": _seconds(),
    "progress_every_s": _seconds(),
    "event_limit_bytes": Range(128 * KIB, 256 * MIB, "bytes", is_whole=True),
    "collect_within_s": _seconds(),
    "output_limit_bytes": Range(KIB, 2**50, "bytes", is_whole=True),
    "refused_for_s": _seconds(),
    "drain_s": _seconds(),
    # Of a projector.
    "job_ttl_s": _PERIOD,
    "terminal_ttl_s": _seconds(is_endless=True),
    "own_for_s": _PERIOD,
    "cached_jobs": _count(0, 10_000_000),
    # Of a subscription.
    "batch": _count(1, 10_000),
    "concurrency": _count(1, 10_000),
    "retry_s": _seconds(),
    "after_s": _seconds(),
    "timeout_s": _PERIOD,
    # Of the archive.
    "retention_s": _seconds(),
    "trim_after_s": _seconds(is_endless=True),
    "keep_log_s": _seconds(1.0, is_endless=True),
    "keep_log_share": Range(0.05, 1.0),
    # Of files that jobs send.
    "input_limit_bytes": Range(1, 64 * 1024 * MIB, "bytes", is_whole=True),
    "fetch_limit_bytes": Range(1, 64 * 1024 * MIB, "bytes", is_whole=True),
    "fetch_within_s": _PERIOD,
    "fetch_silence_s": _PERIOD,
    # Of the gateway's keys.
    "requests_per_s": Range(0.01, 1_000_000),
    "streams": _count(0, 1_000_000),
    "body_limit": Range(1, 64 * 1024 * MIB, "bytes", is_whole=True),
    "key_ttl_s": _PERIOD,
    # Of the simulator.
    "port": _count(0, 65_535),
    "speed": Range(SHORTEST_S, 1_000_000),
}


def check_number(what: str, value: object, name: str = "") -> None:
    """Raise InvalidName unless a value is in the range of the argument `name`, by default `what`.

    The error says what it is, what it may be, and calls it `what`.
    """
    allowed = RANGES[name or what]
    if value not in allowed:
        raise InvalidName(what, value, f"use {allowed}")


def whole_number(what: str, value: object, name: str = "") -> int:
    """Return a whole number, plain where it is of a class of the caller's own.

    Raises InvalidName as `check_number` does.
    """
    check_number(what, value, name)
    return int.__index__(cast("int", value))


def check_numbers(values: object, names: Iterable[str], owner: str = "") -> None:
    """Check the attributes `names` of an object, each in the range of its name.

    Raises InvalidName.
    """
    for name in names:
        check_number(f"{owner} {name}".strip(), getattr(values, name), name)


def check_config(config: object, names: Iterable[str]) -> None:
    """Check the settings of a process. Raises Misconfigured, which names the setting."""
    try:
        check_numbers(config, names)
    except InvalidName as error:
        raise Misconfigured(str(error)) from error
