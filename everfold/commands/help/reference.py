"""Writes docs/COMMANDS.md from the commands: `python -m everfold.commands.help.reference`.

Rule: nothing of that page is written by hand. What each option may be in a config file stands in
docs/CONFIGURATION.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from cyclopts import App

from everfold.commands.app import ALIASES, HELP, app
from everfold.commands.config.settings import Setting, settings_of
from everfold.commands.help.topics import topics
from everfold.commands.session import Session

DOCUMENT = Path(__file__).parents[3] / "docs" / "COMMANDS.md"
NEGATIVE = ("--no-", "--empty-")
"""Forms that the parser adds."""

HEAD = """# Commands

<!-- Written by `python -m everfold.commands.help.reference`. -->

Each command also says this itself: `everfold help COMMAND`, or `-h` behind it. Options that a
config file may set have their types and variables in [CONFIGURATION.md](CONFIGURATION.md).
"""


def main() -> None:
    DOCUMENT.write_text(reference())
    sys.stdout.write(f"{DOCUMENT} written\n")


def reference() -> str:
    """Return the page: the rules, the topics, the common options, and a section per command."""
    parts = [HEAD, HELP.strip().partition("\n\n")[2], "\n## Topics\n"]
    parts += [f"- `everfold help {name}`: {sentence}" for name, sentence in topics().items()]
    parts += ["", "## Common options", "", *_rows(_common()), ""]
    for words, command in every_command(app):
        parts += _section(words, command)
    return "\n".join(parts).rstrip() + "\n"


def every_command(below: App, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield each command under its own name, with its words, before those below it."""
    for name in below:
        if not name.startswith("-") and name not in ALIASES.values():
            yield (*above, name), below[name]
            yield from every_command(below[name], (*above, name))


def _section(words: tuple[str, ...], command: App) -> Iterator[str]:
    yield f"## everfold {' '.join(words)}"
    yield ""
    if command.default_command is None:
        yield command.help.strip()
    else:
        docstring = (command.default_command.__doc__ or command.help).strip()
        yield _without_parameters(docstring)
    if alias := ALIASES.get(words[0]) if len(words) == 1 else None:
        yield f"\nIts older name is `{alias}`."
    yield ""
    if rows := [one for one in settings_of(command, words, described=True) if not _is_common(one)]:
        yield from (*_rows(rows), "")


def _without_parameters(docstring: str) -> str:
    text = docstring.partition("\n    Parameters\n")[0]
    return "\n".join(line.strip() for line in text.splitlines()).strip()


def _rows(settings: list[Setting]) -> Iterator[str]:
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for setting in settings:
        argument = setting.argument
        yield f"| {_name(setting)} | {_default(setting)} | {_meaning(argument.parameter.help)} |"


def _name(setting: Setting) -> str:
    argument = setting.argument
    if argument.index is not None:
        return f"`{argument.name.lstrip('-').upper()}`"
    names = [name for name in argument.names if not name.startswith(NEGATIVE)]
    return ", ".join(f"`{name}`" for name in names)


def _default(setting: Setting) -> str:
    argument = setting.argument
    if argument.required:
        return "required"
    shown = argument.show_default
    value = argument.field_info.default
    text = (shown(value) if callable(shown) else value) if shown else None
    return f"`{text}`" if text else ""


def _meaning(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _common() -> list[Setting]:
    words = ("jobs", "ls")
    found = settings_of(app["jobs"]["ls"], words, described=True)
    return [one for one in found if _is_common(one)]


def _is_common(setting: Setting) -> bool:
    return setting.key in {field.name for field in fields(Session)}


if __name__ == "__main__":
    main()
