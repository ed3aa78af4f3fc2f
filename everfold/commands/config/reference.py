"""Writes the reference of all settings: `python -m everfold.commands.config.reference`.

Rule: docs/CONFIGURATION.md below its mark comes from the commands alone. docs/COMMANDS.md, which
lists the same options, is written with it.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from everfold.commands.app import app
from everfold.commands.config.backend_settings import MEANINGS, TYPES, sources_of
from everfold.commands.config.settings import Command, Setting, all_settings
from everfold.commands.help import reference as commands
from everfold.policy_settings import FIELDS, PREFIX
from everfold.streams.events.event import Policy
from everfold.streams.events.policies import COUNTS, WORDS
from everfold.streams.events.ranges import RANGES
from everfold.streams.queues.limits import SCOPES

MARK = "<!-- Below: written by `python -m everfold.commands.config.reference`. -->\n"
DOCUMENT = Path(__file__).parents[3] / "docs" / "CONFIGURATION.md"

EVERYWHERE = {
    *("namespace", "redis_url", "redis_ca", "redis_cert", "redis_key", "redis_check_hostname"),
}
"""Keys that every table has; the table of shared keys alone describes them."""

LIMITED = {
    "running": "Jobs that run at once.",
    "waiting": "Jobs that may wait; a submit beyond is refused.",
    "share": "Turns that a user has for one of any other user; not for `*`.",
    "assets": "Bytes of all assets that a user owns; storing more is refused.",
}

HEAD = "| key | type | default | environment | meaning |\n|---|---|---|---|---|"


def main() -> None:
    head, _, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text(head + MARK + reference())
    sys.stdout.write(f"{DOCUMENT} written\n")
    commands.main()


def reference() -> str:
    """Return a table for the shared keys and one for each command with keys of its own.

    Keys of a sink stand in the table of its command alone.
    """
    settings = [one for one in all_settings(app, described=True) if not one.is_per_call]
    parts, keys = [_policies(settings), _backends(), _limits()], dict[Command, set[str]]()
    for command, group in groupby(settings, key=lambda one: one.command):
        own = [one for one in group if not command or not _is_elsewhere(one)]
        keys[command] = {one.key for one in own}
        if own and (not command or keys[command] != keys.get(command[:-1])):
            title = f"[{'.'.join(command)}]" if command else "Shared keys"
            parts.append("\n".join((f"\n## {title}\n", HEAD, *map(_row, own), "")))
    return "".join(parts)


def _backends() -> str:
    """Return the table of a backend's keys."""
    rows = list[str]()
    for key, meaning in MEANINGS.items():
        ways = [f"`{key}{source}`" for source in sources_of(key)]
        kind = "table of strings" if key == "headers" else TYPES.get(key, "string")
        header = "_AUTHORIZATION" if key == "headers" else ""
        variable = f"EVERFOLD_BACKENDS_GPU1_{key.upper()}{header}"
        rows.append(f"| {', '.join(ways)} | {kind} | `{variable}` | {meaning} |")
    head = "| key | type | environment | meaning |\n|---|---|---|---|"
    return "\n".join(("\n## [backends.gpu1]\n", head, *rows, ""))


def _limits() -> str:
    """Return the table of limits."""
    rows = [
        f"| `[limits.{what}.{scope}]` | {RANGES[f'{what}_limit'].ends} | {LIMITED[what]} |"
        for what, scopes in SCOPES.items()
        for scope in scopes
    ]
    head = "| table | number | meaning |\n|---|---|---|"
    return "\n".join(("\n## [limits]\n", head, *rows, ""))


def _policies(settings: list[Setting]) -> str:
    """Return the table of a policy's keys, as the flags of `submit` describe them."""
    described = {one.key: one for one in settings if one.command == ("submit",)}
    rows = list[str]()
    for key, name in FIELDS.items():
        value = getattr(Policy(), name)
        default = value if name in COUNTS or name in WORDS else f"{value or 0:g}s"
        default = "none" if value is None else default
        meaning = described[key].argument.parameter.help
        variable = f"`{PREFIX}{key.upper()}`"
        kind = described[key].expected
        rows.append(f"| `{key}` | {kind} | `{default}` | {variable} | {meaning} |")
    return "\n".join(("\n## [policy]\n", HEAD, *rows, ""))


def _is_elsewhere(setting: Setting) -> bool:
    return setting.key in EVERYWHERE or "." in setting.key


def _row(setting: Setting) -> str:
    argument = setting.argument
    value, shown = argument.field_info.default, argument.show_default
    default = (shown(value) if callable(shown) else value) if shown else None
    cells = (
        f"`{setting.key}`",
        setting.expected,
        "required" if argument.required else f"`{default}`" if default else "",
        ", ".join(f"`{name}`" for name in setting.variables),
        " ".join((argument.parameter.help or "").split()),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
