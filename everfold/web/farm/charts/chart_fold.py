"""Events folded to minutes: what was submitted, what ended and how, how long jobs waited and ran.

Rule: pure, no clock, no I/O. It keeps DAY_MINUTES minutes of bounded samples, and two times for
each open job whose beginning was seen, of OPEN_LIMIT at most.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Claimed, Started, Submitted, closing_status
from everfold.streams.events.record import Recorded

MINUTE_MS = 60_000
DAY_MINUTES = 1_440
SAMPLES = 200
"""Times of a minute of which its median is taken; of more jobs some are left out."""
OPEN_LIMIT = 200_000

LONGEST_MS = 2**32 - 1


class ChartRow(Struct, frozen=True, kw_only=True):
    """A minute, or a quarter of an hour. Times are None where nobody is known."""

    at_ms: int
    """Its beginning, server time."""
    submitted: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    wait_p50_s: float | None
    """How long the jobs that were claimed then had waited since they could be."""
    wait_p95_s: float | None
    run_p50_s: float | None
    """How long the jobs ran that succeeded then."""


class _Times:
    """Some of many times, evenly taken."""

    def __init__(self) -> None:
        self._seen = 0
        self.values = array("I")

    def add(self, time_ms: int) -> None:
        value = min(max(0, time_ms), LONGEST_MS)
        if len(self.values) < SAMPLES:
            self.values.append(value)
        else:
            self.values[self._seen * 127 % SAMPLES] = value
        self._seen += 1


class _Minute:
    def __init__(self) -> None:
        self.submitted = 0
        self.ended = Counter[str]()
        self.waits, self.runs = _Times(), _Times()


class ChartFold:
    """The minutes of one namespace."""

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._open: dict[str, tuple[int, int]] = {}
        """Job -> since when it could be claimed, 0 once it was; and when it began to run."""

    def note(self, record: Recorded) -> None:
        """Take an event in; the events of one job come in order."""
        event, job_id, at_ms = record.event, record.job_id, record.time_ms
        if not job_id or isinstance(event, Unreadable):
            return
        ready_ms, started_ms = self._open.get(job_id, (0, 0))
        if isinstance(event, Submitted):
            self._minute(at_ms).submitted += 1
            self._keep(job_id, max(at_ms, event.run_at_ms or 0), 0)
        elif isinstance(event, Claimed):
            if ready_ms:
                self._minute(at_ms).waits.add(at_ms - ready_ms)
                self._keep(job_id, 0, started_ms)
        elif isinstance(event, Started):
            self._keep(job_id, ready_ms, at_ms)
        elif status := closing_status(event):
            self._open.pop(job_id, None)
            minute = self._minute(at_ms)
            minute.ended[status] += 1
            if status == "succeeded" and started_ms:
                minute.runs.add(at_ms - started_ms)

    def _keep(self, job_id: str, ready_ms: int, started_ms: int) -> None:
        self._open[job_id] = (ready_ms, started_ms)
        if len(self._open) > OPEN_LIMIT:
            del self._open[next(iter(self._open))]

    def _minute(self, at_ms: int) -> _Minute:
        number = at_ms // MINUTE_MS
        found = self._minutes.get(number)
        if found is None:
            found = self._minutes[number] = _Minute()
            if len(self._minutes) > DAY_MINUTES + 1:
                del self._minutes[min(self._minutes)]
        return found

    def rows(self, now_ms: int, count: int, minutes: int) -> list[ChartRow]:
        """Return so many stretches of so many minutes each, the last one that of now."""
        last = now_ms // (MINUTE_MS * minutes)
        return [self._row(number, minutes) for number in range(last - count + 1, last + 1)]

    def _row(self, number: int, minutes: int) -> ChartRow:
        first = number * minutes
        found = [one for m in range(first, first + minutes) if (one := self._minutes.get(m))]
        ended = sum((one.ended for one in found), Counter[str]())
        waits = sorted(time_ms for one in found for time_ms in one.waits.values)
        runs = sorted(time_ms for one in found for time_ms in one.runs.values)
        return ChartRow(
            at_ms=first * MINUTE_MS,
            submitted=sum(one.submitted for one in found),
            succeeded=ended["succeeded"],
            failed=ended["failed"],
            canceled=ended["canceled"],
            expired=ended["expired"],
            wait_p50_s=percentile_s(waits, 50),
            wait_p95_s=percentile_s(waits, 95),
            run_p50_s=percentile_s(runs, 50),
        )


def percentile_s(values: Sequence[int], percent: int) -> float | None:
    """Return the least of the sorted times in ms that so many percent do not exceed, in seconds."""
    if not values:
        return None
    return values[max(0, -(-percent * len(values) // 100) - 1)] / 1000
