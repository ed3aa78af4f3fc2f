"""`python -m tests.chaos --rounds N --seed S`: rounds of seeded faults on real processes."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
import msgspec

from tests.chaos.fault_runner import fault_runner
from tests.chaos.round import Result, Round
from tests.chaos.schedule import schedule

ROUNDS_PER_START = 10
"""Then everything is started anew, so that the log stays short enough to be checked each round."""


async def run_rounds(rounds: int, seed: int, folder: Path) -> list[Result]:
    """Run rounds seed, seed + 1 ...; stop after the first violation."""
    results: list[Result] = []
    while len(results) < rounds and not any(result.violations for result in results):
        count = min(ROUNDS_PER_START, rounds - len(results))
        subfolder = folder / f"from-{seed + len(results)}"
        subfolder.mkdir(parents=True)
        async with fault_runner(subfolder, "chaos") as faults:
            for _ in range(count):
                result = await Round(faults, schedule(seed + len(results))).run()
                results.append(result)
                _print_result(result)
                if result.violations:
                    break
    return results


def _print_result(result: Result) -> None:
    words = [f"seed {result.seed}", f"jobs {result.outcomes}", f"faults {result.faults}"]
    print("  ".join(words), flush=True)
    for violation in result.violations:
        print("VIOLATION", violation, flush=True)
    for text in filter(None, result.event_texts):
        print(text, flush=True)


def summary(results: list[Result]) -> dict[str, object]:
    faults, outcomes = Counter[str](), Counter[str]()
    for result in results:
        faults.update(result.faults)
        outcomes.update(result.outcomes)
    gaps = sorted(gap for result in results for gap in result.recoveries_s)

    def rank(share: float) -> float | None:
        return gaps[min(len(gaps) - 1, int(len(gaps) * share))] if gaps else None

    return {
        "rounds": len(results),
        "first_seed": results[0].seed,
        "faults": dict(faults),
        "outcomes": dict(outcomes),
        "recoveries": len(gaps),
        "recovery_p50_s": rank(0.5),
        "recovery_p99_s": rank(0.99),
        "violations": sum(len(result.violations) for result in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the summary here too")
    options = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="everfold-chaos-"))
    results = anyio.run(run_rounds, options.rounds, options.seed, folder)
    found = summary(results)
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
    print(f"rounds: {len(results)}, in {time.monotonic() - started:.0f} s; files in {folder}")
    if options.json:
        options.json.write_bytes(msgspec.json.encode(found))
    sys.exit(1 if found["violations"] else 0)


main()
