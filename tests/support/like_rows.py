"""Families of rows that are alike: the short form runs some of each, and full length runs all.

Which ones is chance, by the seed of the run's order, so that every row runs on some day. A row that
is named, or that failed in the run before, is not left to chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

MARKER = "like_rows"
"""`@pytest.mark.like_rows(3)`: of these rows the short form runs three."""


def left_out(items: Iterable[pytest.Item], seed: int) -> set[pytest.Item]:
    """Return the rows that the short form does without in a run with this seed."""
    families: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker(MARKER) is not None:
            families.setdefault(item.nodeid.partition("[")[0], []).append(item)
    out = set[pytest.Item]()
    for name, rows in families.items():
        marker = rows[0].get_closest_marker(MARKER)
        assert marker is not None
        (count,) = marker.args
        rows.sort(key=lambda row: row.nodeid)  # the order is chance, and no part of the choice
        random.Random(f"{seed} {name}").shuffle(rows)
        out.update(rows[count:])
    return out
