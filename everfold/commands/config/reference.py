"""Writes the reference of all settings: `python -m everfold.commands.config.reference`.

Rule: docs/CONFIGURATION.md below its mark comes from the commands alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from cyclopts import Argument

from everfold.commands.app import app
from everfold.commands.config.settings import Command, Setting, all_settings

MARK = "<!-- Below: written by `python -m everfold.commands.config.reference`. -->\n"
DOCUMENT = Path(__file__).parents[3] / "docs" / "CONFIGURATION.md"

EVERYWHERE = {"namespace", "redis_url"}
"""Keys that every table has; the table of shared keys alone describes them."""

HEAD = "| key | type | default | environment | meaning |\n|---|---|---|---|---|"


def main() -> None:
    head, _, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text(head + MARK + reference())
    sys.stdout.write(f"{DOCUMENT} written\n")


def reference() -> str:
    """Return a table for the shared keys and one for each command that has keys of its own."""
    settings = [one for one in all_settings(app, described=True) if not one.is_per_call]
    rows = {
        command: [_row(one) for one in own if not command or one.key not in EVERYWHERE]
        for command, own in groupby(settings, key=lambda one: one.command)
    }
    return "".join(_table(command, own, rows) for command, own in rows.items() if own)


def _table(command: Command, own: list[Row], rows: Mapping[Command, list[Row]]) -> str:
    title = f"[{'.'.join(command)}]" if command else "Shared keys"
    above = rows.get(command[:-1], [])
    if command[:-1] and [row.meaning for row in own] == [row.meaning for row in above]:
        return f"\n## {title}\n\nThe keys of [{'.'.join(command[:-1])}].\n"
    lines = list(dict.fromkeys(row.line() for row in own))
    return "\n".join((f"\n## {title}\n", HEAD, *lines, ""))


class Row(NamedTuple):
    """A setting as the reference shows it."""

    key: str
    type: str
    default: str
    variables: str
    meaning: str

    def line(self) -> str:
        """Return its line; the keys of a sink in another table are described at the sink."""
        table, is_nested, _ = self.key.partition(".")
        cells = (f"`{self.key}`", *self[1:])
        if is_nested:
            meaning = f"Runs that sink. Its keys are those of [sink.{table}]."
            variables = f"`EVERFOLD_UP_{table.upper()}_...`"
            cells = (f"`{table}`", "table", "", variables, meaning)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(setting: Setting) -> Row:
    variables = ", ".join(f"`{name}`" for name in setting.variables)
    meaning = " ".join((setting.argument.parameter.help or "").split())
    return Row(setting.key, setting.expected, _default(setting.argument), variables, meaning)


def _default(argument: Argument) -> str:
    if argument.required:
        return "required"
    value, shown = argument.field_info.default, argument.show_default
    text = shown(value) if callable(shown) else value
    return f"`{text}`" if shown and text else ""


if __name__ == "__main__":
    main()
