"""Many jobs as few lanes: how many jobs of each group ran and waited, over time.

Rule: pure. A lane has as many bins as a picture has room for, however many jobs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from everfold.timeline.summary import statuses
from everfold.timeline.tracks import KINDS, WAITING, Segment, Track

GroupBy = Literal["queue", "user", "kind", "batch", "backend"]
GROUPINGS: tuple[GroupBy, ...] = ("queue", "user", "kind", "batch", "backend")

MOST_LANES = 30
"""Groups that have a lane of their own, those with the most jobs; others share one."""

FEW_LANES = 12
NONE, OTHERS = "(none)", "(others)"
BAD = ("failed", "expired")


class Lane(Struct, frozen=True):
    """One group of jobs over time."""

    name: str
    jobs: int
    statuses: str
    """How many jobs have each status, in words."""
    bins: dict[str, list[float]]
    """Kind of segment -> how many jobs were in it on average, for each bin."""
    failures: list[int]
    """How many jobs failed or expired in each bin."""

    def most(self, kind: str) -> float:
        """Return the highest bin of a kind."""
        return max(self.bins[kind], default=0.0)


def grouping_of(tracks: Sequence[Track]) -> GroupBy:
    """Return the first grouping that makes a few groups of the jobs, `queue` where none does."""
    for by in GROUPINGS:
        if 1 < len(_grouped(tracks, by)) <= FEW_LANES:
            return by
    return "queue"


def extent_of(tracks: Sequence[Track]) -> tuple[int, int]:
    """Return the first and the last moment; at least one millisecond apart."""
    start_ms = min((track.start_ms for track in tracks), default=0)
    return start_ms, max([start_ms + 1, *(track.end_ms for track in tracks)])


def lanes(tracks: Sequence[Track], by: GroupBy, bins: int) -> list[Lane]:
    """Return a lane for each group in the order of names, each with so many bins."""
    groups = _grouped(tracks, by)
    largest = sorted(groups, key=lambda name: (-len(groups[name]), name))[:MOST_LANES]
    shown = {name: groups[name] for name in sorted(largest)}
    if rest := [one for name, found in groups.items() if name not in shown for one in found]:
        shown[f"{OTHERS} {len(groups) - len(shown):,} more"] = rest
    extent_ms = extent_of(tracks)
    return [_lane(name, found, by, extent_ms, bins) for name, found in shown.items()]


def _grouped(tracks: Sequence[Track], by: GroupBy) -> dict[str, list[Track]]:
    found: dict[str, list[Track]] = {}
    for track in tracks:
        for name in _names(track, by):
            found.setdefault(name, []).append(track)
    return found


def _names(track: Track, by: GroupBy) -> Sequence[str]:
    if by == "backend":
        return list(dict.fromkeys(one.backend for one in track.segments if one.backend)) or [NONE]
    return [getattr(track, by) or NONE]


def _lane(
    name: str, tracks: Sequence[Track], by: GroupBy, extent_ms: tuple[int, int], bins: int
) -> Lane:
    start_ms, width_ms = extent_ms[0], (extent_ms[1] - extent_ms[0]) / bins
    found = {kind: [0.0] * bins for kind in KINDS}
    failures = [0] * bins
    belongs = _belongs(name, by)
    for track in tracks:
        for segment in filter(belongs, track.segments):
            _add(found[segment.kind], segment, start_ms, width_ms)
        if not track.is_open and track.status in BAD:
            failures[min(bins - 1, int((track.end_ms - start_ms) / width_ms))] += 1
    return Lane(name, len(tracks), statuses(tracks), found, failures)


def _belongs(name: str, by: GroupBy) -> Callable[[Segment], bool]:
    """Return whether a segment of a job of the lane is the lane's: a job has many backends."""
    if by != "backend" or name.startswith(OTHERS):
        return lambda segment: True
    return lambda segment: (
        segment.backend == (name if name != NONE else "")
        and not (segment.kind == WAITING and segment.backend)
    )


def _add(bins: list[float], segment: Segment, start_ms: int, width_ms: float) -> None:
    """Add a segment to the bins that it overlaps, by the share of each that it fills."""
    begin = (segment.start_ms - start_ms) / width_ms
    end = (segment.end_ms - start_ms) / width_ms
    for place in range(max(0, int(begin)), min(len(bins), int(end) + 1)):
        bins[place] += max(0.0, min(end, place + 1) - max(begin, place))
