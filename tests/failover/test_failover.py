"""Two failovers for every change, others each time; `make failover ROUNDS=n SEED=s` runs many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everfold.embedded.engines import Engine, path_engines
from tests.failover.count import Left
from tests.failover.rounds import Round, Series, run_series
from tests.failover.table import table
from tests.support.groups import networks
from tests.support.programs.forked import ForkServer

pytestmark = pytest.mark.anyio

FAULTS = [
    ("one", "kill", 0),
    ("sentinel", "planned", 0),
    ("sentinel", "kill", 1),
    ("sentinel", "partition", 0),
    ("sentinel", "freeze", 0),
    ("cluster", "move by keys", 0),
    ("cluster", "kill", 0),
]
"""Kind, fault, and replicas that writes wait for."""


@pytest.mark.like_rows(2)
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "fault", "replicas"), FAULTS)
async def test_what_was_acknowledged_outlives_a_failover_or_is_named(
    engine: Engine,
    fork_server: ForkServer,
    tmp_path: Path,
    full_length: bool,
    kind: str,
    fault: str,
    replicas: int,
) -> None:
    if fault == "partition" and not networks.can_be_made():
        pytest.skip("only root may cut networks, and with iproute2")
    seeds = range(1, 21 if full_length else 2)

    series = await run_series(
        engine, kind, fault, seeds, tmp_path, replicas=replicas, fork_server=fork_server
    )

    assert [one.violations() for one in series.rounds if one.violations()] == []
    if replicas:
        assert [one.left.gone for one in series.rounds if one.left.gone] == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_cluster_of_the_machine_s_own_server_loses_nothing_unnamed_either(
    engine: Engine, fork_server: ForkServer, tmp_path: Path
) -> None:
    other = other_engine(engine)
    if other is None:
        pytest.skip("no other server on the path")

    series = await run_series(other, "cluster", "kill", [1], tmp_path, fork_server=fork_server)

    assert [one.violations() for one in series.rounds if one.violations()] == []


def other_engine(engine: Engine) -> Engine | None:
    """Return the machine's own server, where that is another one."""
    found = next((one for one in path_engines(os.environ) if not one.is_too_old), engine)
    return found if found != engine else None


def test_a_job_that_is_lost_and_named_by_nobody_is_a_violation() -> None:
    named = Left(unknown=frozenset({"a"}), named=frozenset({"a"}))
    silent = Left(unknown=frozenset({"a", "b"}), named=frozenset({"a"}))

    assert round_of(named).violations() == []
    assert round_of(silent).violations() == ["lost without a word: b"]


def test_what_ran_twice_did_not_end_or_died_is_a_violation() -> None:
    assert round_of(Left(twice=frozenset({"a"}))).violations() == ["run twice: a"]
    assert round_of(Left(), unended=frozenset({"a"})).violations() == ["without an end: a"]
    assert round_of(Left(), ended=1).violations() == ["a process has ended"]


def test_the_table_adds_the_rounds_of_a_series_up() -> None:
    one = frozenset({"a"})
    lost = Left(unknown=one, gone=one, named=frozenset({"a", "b"}), put_back=frozenset({"b"}))
    series = Series("valkey 9.1", "sentinel", "kill", 1, [round_of(lost), round_of(Left())])

    last = table([series]).splitlines()[-1]

    cells = "kill | sentinel | valkey 9.1 | 1 | 2 | 20 | 1 | 1 | 2 | 1 | 0 | 0 | 0 | 2.0 / 2.0 | 0"
    assert last == f"| {cells} |"


def round_of(left: Left, unended: frozenset[str] = frozenset(), ended: int = 0) -> Round:
    return Round(1, 10, 0, left, unended, 2.0, ended)


def test_this_is_what_make_failover_runs() -> None:
    assert "python -m tests.failover --rounds" in Path("Makefile").read_text()
