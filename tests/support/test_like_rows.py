"""Which rows of a family run: some by chance, and each of them on some day."""

from __future__ import annotations

import pytest

from tests.support.like_rows import left_out


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[pytest.Item]:
    """Rows of two families, and a test of no family."""
    here = request.node.parent
    found = list[pytest.Item]()
    for name in (*(f"test_a[{n}]" for n in range(9)), "test_b[0]", "test_b[1]", "test_c[0]"):
        row = pytest.Function.from_parent(here, name=name, callobj=lambda: None)
        if not name.startswith("test_c"):
            row.add_marker(pytest.mark.like_rows(2))
        found.append(row)
    return found


def test_so_many_of_a_family_run_and_others_with_another_seed(rows: list[pytest.Item]) -> None:
    out = left_out(rows, seed=1)
    assert out == left_out(reversed(rows), seed=1), "each process of a run takes the same ones"
    assert (len(out), {row.name.partition("[")[0] for row in out}) == (7, {"test_a"})
    ran = {row.name for seed in range(100) for row in {*rows} - left_out(rows, seed)}
    assert ran == {row.name for row in rows}


def test_a_row_that_is_named_runs(rows: list[pytest.Item]) -> None:
    assert left_out(rows[4:5], seed=1) == set()
