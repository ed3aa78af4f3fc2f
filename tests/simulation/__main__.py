"""Run many seeds: `python -m tests.simulation --seeds 100000 --from 0`.

Prints the rate; at the first violation its seed and whole trace, and ends with 1. A seed always
gives the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from msgspec.structs import replace

from tests.simulation.breakages import CUT_OFF, LOSSY, STALLING
from tests.simulation.invariants import Violation
from tests.simulation.world import Options, World

WEATHERS = {"drawn": None, "stalling": STALLING, "cut-off": CUT_OFF, "lossy": LOSSY}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    options.add_argument("--seeds", type=int, default=10_000, help="how many")
    options.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    options.add_argument("--window-ms", type=int, default=0, help="between last look and last byte")
    options.add_argument("--weather", choices=WEATHERS, default="drawn", help="what goes wrong")
    options.add_argument("--keep-going", action="store_true", help="count violations by kind")
    given = options.parse_args()
    chosen = Options(window_ms=given.window_ms, weather=WEATHERS[given.weather])
    return run_seeds(range(given.first, given.first + given.seeds), chosen, given.keep_going)


def run_seeds(seeds: range, options: Options, keep_going: bool) -> int:
    steps, violations, begun_s = 0, Counter[str](), time.perf_counter()
    statuses, faults, first = Counter[str](), Counter[str](), dict[str, int]()
    for seed in seeds:
        world = World(seed, options)
        try:
            world.run()
        except Violation as violation:
            if not keep_going:
                print(f"{trace_of(seed, options)}\nseed {seed}: {violation}")
                return 1
            kind = str(violation)[:45]
            violations[kind] += 1
            first.setdefault(kind, seed)
        steps += world.agenda.steps
        statuses.update(head.status for head in world.server.heads.values())
        faults.update(world.faults.struck)
    took_s = time.perf_counter() - begun_s
    print(f"{len(seeds):,} seeds, {steps:,} steps in {took_s:.1f} s: ", end="")
    print(f"{len(seeds) / took_s:,.0f} seeds/s, {steps / took_s:,.0f} steps/s")
    print("jobs:", dict(statuses.most_common()))
    print("faults:", dict(faults.most_common()))
    for kind, count in violations.most_common():
        print(f"{count:>8,} x {kind} (first: seed {first[kind]})")
    return 1 if violations else 0


def trace_of(seed: int, options: Options) -> str:
    """Return what happened under a seed, line by line."""
    world = World(seed, replace(options, is_tracing=True))
    try:
        world.run()
    except Violation as violation:
        world.note("checker", violation)
    return "\n".join(world.trace)


if __name__ == "__main__":
    sys.exit(main())
