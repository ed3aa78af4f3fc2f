"""Writes the reference of all settings: `python -m everfold.commands.reference`.

Rule: docs/CONFIGURATION.md below its mark, and options.json, come from the commands alone.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import msgspec

from everfold.commands.app import app
from everfold.commands.config.options import RECORD, Option, described, tree

MARK = "<!-- Below: written by `python -m everfold.commands.reference`. -->\n"
ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "CONFIGURATION.md"
RECORDED = Path(__file__).parent / RECORD


def main() -> None:
    options = described(app)
    tree(options)  # no key may be a table too
    head, _, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text(head + MARK + reference(options))
    RECORDED.write_text(record(options))
    sys.stdout.write(f"{DOCUMENT.relative_to(ROOT)} and {RECORDED.relative_to(ROOT)} written\n")


def record(options: list[Option]) -> str:
    """Return what a start with a config file has to know, one option per line."""
    brief = (msgspec.structs.replace(one, default="", meaning="") for one in options)
    lines = ",\n".join(msgspec.json.encode(one).decode() for one in brief)
    return f"[\n{lines}\n]\n"


def reference(options: list[Option]) -> str:
    """Return a table for the shared keys and one for each command that has keys of its own."""
    shared = [one for one in options if not one.command]
    parts = ["\n## Shared keys\n", *_table(shared, options)]
    everywhere = {"namespace", "redis_url"}
    for command, group in groupby(options, key=lambda one: one.command):
        own = [one for one in group if not one.per_call and one.key not in everywhere]
        if command and own:
            parts += [f"\n## [{'.'.join(command)}]\n", *_table(own, options)]
    return "\n".join(parts) + "\n"


def _table(rows: list[Option], options: list[Option]) -> list[str]:
    head = ["| key | type | default | environment | meaning |", "|---|---|---|---|---|"]
    return [*head, *(_row(one, options) for one in rows)]


def _row(option: Option, options: list[Option]) -> str:
    variables = ", ".join(f"`{name}`" for name in option.variables)
    default = option.default and (
        option.default if option.default == "required" else f"`{option.default}`"
    )
    cells = (
        f"`{option.key}`",
        option.expected.partition(" such")[0],
        default,
        variables,
        _meaning(option, options),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _meaning(option: Option, options: list[Option]) -> str:
    """Return its meaning, or that of its twin in another command where its own is missing."""
    twins = (one.meaning for one in options if _twin(one) == _twin(option))
    plain = not option.default and not option.many
    return option.meaning or ("" if plain else next(filter(None, twins), ""))


def _twin(option: Option) -> tuple[object, ...]:
    return option.path, option.expected, option.default


if __name__ == "__main__":
    main()
