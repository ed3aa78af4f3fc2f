"""The table of what failovers cost: a row for each fault, server and number of replicas."""

from __future__ import annotations

from collections.abc import Sequence

from tests.failover.rounds import Series

COLUMNS = (
    *(
        "fault",
        "on",
        "engine",
        "WAIT",
        "rounds",
        "acked",
        "gone",
        "unknown after",
        "named",
        "put back",
    ),
    *("unnamed", "run twice", "unended", "writes again p50/p99 s", "processes ended"),
)


def row(series: Series) -> list[str]:
    rounds = series.rounds
    times = sorted(one.writes_again_s for one in rounds)
    counts = (
        sum(one.told for one in rounds),
        sum(len(one.left.gone) for one in rounds),
        sum(len(one.left.unknown) for one in rounds),
        sum(len(one.left.named) for one in rounds),
        sum(len(one.left.put_back) for one in rounds),
        sum(len(one.left.silent) for one in rounds),
        sum(len(one.left.twice) for one in rounds),
        sum(len(one.unended) for one in rounds),
    )
    again = f"{rank(times, 0.5):.1f} / {rank(times, 0.99):.1f}"
    ended = sum(one.ended for one in rounds)
    return [
        *(series.fault, series.kind, series.engine, str(series.replicas or "-"), str(len(rounds))),
        *map(str, counts),
        *(again, str(ended)),
    ]


def rank(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def table(found: Sequence[Series]) -> str:
    """Return the table in Markdown."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *map(row, found)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
