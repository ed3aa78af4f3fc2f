"""`python -m benchmarks recovery [--json FILE]`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import anyio
import msgspec

from benchmarks.recovery import measure_recovery, report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", choices=["recovery"])
    parser.add_argument("--kills", type=int, default=30, help="runners to kill with SIGKILL")
    parser.add_argument("--freezes", type=int, default=5, help="runners to freeze with SIGSTOP")
    parser.add_argument("--orphans", type=int, default=10_000, help="jobs of one dead runner")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    found = anyio.run(measure_recovery, options.kills, options.freezes, options.orphans)
    print(report(found))
    if options.json:
        machine = f"{platform.machine()}, {platform.system()} {platform.release()}"
        result = {
            "machine": machine,
            "python": platform.python_version(),
            **msgspec.to_builtins(found),
        }
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))


main()
