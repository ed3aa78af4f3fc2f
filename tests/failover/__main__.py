"""`python -m tests.failover --rounds N --seed S`: failovers under load, and what they cost."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio

from everfold.embedded.engines import Engine
from tests.failover.rounds import Series, run_series
from tests.failover.table import row, table
from tests.failover.targets import KINDS, target
from tests.support.programs.forked import ForkServer
from tests.support.server_choice import choose_server, named_engine


def _engines(names: list[str]) -> Iterator[Engine]:
    if names:
        yield from map(named_engine, names)
    elif (engine := choose_server().engine) is not None:
        yield engine


def _faults(kind: str, engine: Engine, wanted: list[str]) -> list[str]:
    """Return those of the wanted faults that this engine and machine can have."""
    with target(kind, engine, random.Random(0), network=True) as on:
        return [fault for fault in on.faults if not wanted or fault in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.failover")
    parser.add_argument("--rounds", type=int, default=5, help="of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", action="append", default=[], help="as `make engines` names it")
    parser.add_argument("--on", action="append", default=[], choices=KINDS)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--replicas", type=int, action="append", default=[])
    options = parser.parse_args()
    started, found = time.monotonic(), list[Series]()
    folder = Path(tempfile.mkdtemp(prefix="everfold-failover-"))
    logging.basicConfig(filename=folder / "log")
    seeds = range(options.seed, options.seed + options.rounds)
    fork_server = ForkServer()
    for engine in _engines(options.engine):
        for kind in options.on or KINDS[1:]:
            for fault in _faults(kind, engine, options.fault):
                for replicas in options.replicas or [0]:
                    place = folder / str(len(found))
                    place.mkdir()
                    run = partial(run_series, replicas=replicas, fork_server=fork_server)
                    series = anyio.run(run, engine, kind, fault, seeds, place)
                    found.append(series)
                    _print_series(series)
    fork_server.close()
    print(table(found))
    print(f"{time.monotonic() - started:.0f} s; files in {folder}")
    sys.exit(any(one.violations() for series in found for one in series.rounds))


def _print_series(series: Series) -> None:
    print("  ".join(row(series)), flush=True)
    for one in series.rounds:
        for violation in one.violations():
            print(f"VIOLATION seed {one.seed}: {violation}", flush=True)


main()
