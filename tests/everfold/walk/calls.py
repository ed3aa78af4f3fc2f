"""Command lines for all commands of the tree, made from what each says that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from everfold.commands.app import app
from everfold.commands.config.settings import Setting, all_settings, settings_of
from tests.everfold.commands.test_help import COMMANDS
from tests.everfold.walk.walker import Shown, Walk
from tests.support.programs.programs import StartProgram

RUNNABLE = {
    words: command for words, command in COMMANDS.items() if command.default_command is not None
}


def command_lines(values: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield a line for each command; `values` are those of needed arguments, by name or type.

    An argument that has no value there gets a file's path, its first choice, or a word.
    """
    for words, command in RUNNABLE.items():
        line = list(words)
        for setting in settings_of(command, words):
            if setting.argument.index is not None and setting.argument.required:
                line.append(_value(setting, values))
            elif setting.argument.required:
                line += [f"--{setting.key.replace('_', '-')}", _value(setting, values)]
        yield line


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables for all options whose name has one of the given names."""
    found = dict[str, str]()
    for setting in all_settings(app):
        last = setting.key.rpartition(".")[2]
        if setting.command and not setting.is_per_call and last in values:
            found[setting.variables[-1]] = values[last]
    return found


def _value(setting: Setting, values: Mapping[str, str]) -> str:
    choices = setting.argument.get_choices(force=True)
    full = " ".join((*setting.command, setting.key))
    is_path = "path" in setting.expected
    return (
        values.get(full)
        or values.get(setting.key)
        or (choices[0] if choices else values["path"] if is_path else "word")
    )


async def walked(start: StartProgram, walk: Walk, within_s: float = 240) -> list[Shown]:
    """Run all calls of a walk, which is written down beside its folder."""
    file = _written(walk)
    environ = {"HOME": walk.folder, "NO_COLOR": "1", "COLUMNS": "200"}
    program = start("-m", "tests.everfold.walk.walker", str(file), environ=environ)
    code = await program.end(within_s=within_s)
    assert code == 0, program
    found = [msgspec.json.decode(line, type=Shown) for line in program.lines]
    assert len(found) == len(walk.calls), program
    return found


def _written(walk: Walk) -> Path:
    file = Path(walk.folder).parent / "walk.json"
    file.write_bytes(msgspec.json.encode(walk))
    return file
