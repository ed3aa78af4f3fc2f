"""Keeping the newest results: as JSON, as pictures, and as the tables in benchmarks/README.md.

Rule: a run replaces its own benchmarks' results only, so that they can be measured one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring.pictures import picture

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"
MARK = "<!-- Below: written by `python -m benchmarks ... --publish`. -->\n"

Result = dict[str, object]


def publish(found: Mapping[str, Result]) -> None:
    """Store results by benchmark name, and write the pictures and the README's tables anew."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    kept: dict[str, Result] = json.loads(path.read_text()) if path.exists() else {}
    kept |= found
    kept = {name: kept[name] for name in sorted(kept)}
    path.write_text(json.dumps(kept, indent=2) + "\n")
    for name, result in kept.items():
        figures = result["figures"]
        assert isinstance(figures, dict)
        if (drawn := picture(name, figures)) is not None:
            (RESULTS / f"{name}.svg").write_text(drawn)
    head = README.read_text().partition(MARK)[0]
    README.write_text(head + MARK + "".join(_section(name, kept[name]) for name in kept))


def _section(name: str, result: Result) -> str:
    has_picture = (RESULTS / f"{name}.svg").exists()
    shown = f"![{name}](results/{name}.svg)\n\n" if has_picture else ""
    made = f"{result['date']}, {result['machine']}, {result['versions']}"
    return f"\n### {name}\n\n{shown}```\n{result['report']}\n```\n\n{made}\n"
