"""The few numbers that describe many measurements."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Percentiles(Struct, frozen=True):
    """Of values in seconds, by the nearest-rank method: each is a value that was measured."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float

    def __str__(self) -> str:
        return (
            f"p50 {self.p50_s:6.2f} s   p95 {self.p95_s:6.2f} s   p99 {self.p99_s:6.2f} s   "
            f"max {self.max_s:6.2f} s   n={self.count}"
        )


def percentiles(values_s: Sequence[float]) -> Percentiles:
    ordered = sorted(values_s) or [float("nan")]

    def rank(share: float) -> float:
        return round(ordered[max(0, -(-int(len(ordered) * share * 100) // 100) - 1)], 4)

    return Percentiles(len(values_s), rank(0.50), rank(0.95), rank(0.99), round(ordered[-1], 4))
