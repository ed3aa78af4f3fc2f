"""What a timeline says in words: how many jobs of each status, how long they waited and ran.

Rule: pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from everfold.durations import duration_text
from everfold.streams.border.quantity import quantity
from everfold.timeline.tracks import RUNNING, Track


def summary(tracks: Sequence[Track]) -> Iterator[str]:
    """Yield the sentences about all jobs of a timeline."""
    yield f"{quantity(len(tracks), 'job')}: {statuses(tracks)}"
    waits = sorted(wait_ms(track) for track in tracks if _first_run_ms(track) is not None)
    runs = sorted(run_ms(track) for track in tracks if not track.is_open and run_ms(track))
    parts = [
        f"{name} p50 {_text(values, 0.5)}, p99 {_text(values, 0.99)}"
        for name, values in (("wait", waits), ("run", runs))
        if values
    ]
    yield "; ".join(parts) or "none has run"


def statuses(tracks: Sequence[Track]) -> str:
    """Return how many jobs have each status, the most frequent first."""
    counts = Counter(track.status for track in tracks).most_common()
    return ", ".join(f"{number:,} {status}" for status, number in counts)


def wait_ms(track: Track) -> int:
    """Return the time from the job's beginning to its first run, or to its end without any."""
    first_ms = _first_run_ms(track)
    return (track.end_ms if first_ms is None else first_ms) - track.start_ms


def run_ms(track: Track) -> int:
    """Return the time in which the job ran, over all attempts."""
    return sum(one.end_ms - one.start_ms for one in track.segments if one.kind == RUNNING)


def percentile(values: Sequence[int], share: float) -> int:
    """Return the least of the sorted values that a share of them does not exceed."""
    return values[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def _text(values: Sequence[int], share: float) -> str:
    return duration_text(percentile(values, share) / 1000)


def _first_run_ms(track: Track) -> int | None:
    return next((one.start_ms for one in track.segments if one.kind == RUNNING), None)
