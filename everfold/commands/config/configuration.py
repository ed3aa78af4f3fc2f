"""What the config file says, and that every word of it is known.

Rule: a file is taken as a whole or refused with one sentence, whichever command is run.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path

import msgspec
from cyclopts.argument import ArgumentCollection

from everfold.commands.config.checking import problems, settings
from everfold.commands.config.config_file import shown
from everfold.commands.config.options import Option, described, recorded, tree
from everfold.embedded import named_url
from everfold.streams.errors import Misconfigured

LENT = ("log", "data")
"""Shared settings that are also read below the command line, where only the environment is."""


class Configuration(msgspec.Struct, frozen=True):
    """A file whose every key is known and of the right type."""

    file: Path
    settings: list[tuple[Option, object]]

    def for_command(self, command: tuple[str, ...]) -> list[tuple[Option, object]]:
        """Return what the tables of one command set, then what the top of the file does."""
        own = [(o, value) for o, value in self.settings if command and o.command == command]
        return [*own, *((o, value) for o, value in self.settings if not o.command)]

    def value(self, option: Option, value: object) -> object:
        """Return a value as a command takes it: paths start at the file's folder."""
        if isinstance(value, list):
            return [self.value(option, one) for one in value]
        if option.type == "path" and isinstance(value, str):
            return str(self.file.absolute().parent / Path(value).expanduser())
        return value.isoformat() if hasattr(value, "isoformat") else value


def read(file: Path) -> dict[str, object]:
    """Parse a file. Raises Misconfigured with the place of what is wrong."""
    try:
        text = file.read_text("utf-8-sig")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(_syntax(file, text, str(error))) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        raise Misconfigured(f"{shown(file)}, line {line}, column {column}: not UTF-8") from error
    except OSError as error:
        raise Misconfigured(f"{shown(file)} cannot be read: {error.strerror}") from error


def _syntax(file: Path, text: str, said: str) -> str:
    why, _, place = said.rpartition(" (at ")
    if found := re.match(r"line (\d+), column (\d+)", place):
        line, column = found.groups()
    else:
        lines = text.split("\n")
        line, column = str(len(lines)), str(len(lines[-1]) + 1)
    return f"{shown(file)}, line {line}, column {column}: {why[:1].lower()}{why[1:]}"


def checked(file: Path) -> Configuration:
    """Read a file and check all of it. Raises Misconfigured with the first thing that is wrong."""
    document = read(file)
    for what in wrong(document):
        raise Misconfigured(f"{shown(file)}: {what}")
    return Configuration(file, settings(document, tree(known(document))))


def wrong(document: dict[str, object]) -> list[str]:
    """Return a sentence for each key that is unknown or of a wrong type."""
    return problems(document, tree(known(document)))


def known(document: dict[str, object]) -> list[Option]:
    """Return all options: as recorded, or as the commands say when that is not enough."""
    noted = recorded()
    return noted if not problems(document, tree(noted)) else all_options()


@cache
def all_options() -> list[Option]:
    from everfold.commands.app import app

    return described(app)


def lend(found: Configuration) -> None:
    """Put what is read below the command line into the environment, unless it has its own."""
    for option, value in found.for_command(()):
        variable = option.variables[0]
        if option.key in LENT and not os.environ.get(variable):
            os.environ[variable] = str(found.value(option, value))


def values_for(
    found: Configuration, command: tuple[str, ...], arguments: ArgumentCollection
) -> dict[str, object]:
    """Return the command's options by flag; its own tables before the top of the file."""
    values: dict[str, object] = {}
    for option, value in found.for_command(command):
        flag = "--" + option.key.replace("_", "-")
        takers = [a for a in arguments if a.name == flag]
        if not option.command and not any(
            option.variables[0] in (a.parameter.env_var or ()) for a in takers
        ):
            continue
        if option.path == ("redis_url",) and named_url(os.environ):
            continue  # REDIS_HOST is in the environment, and that comes first
        values.setdefault(flag.removeprefix("--"), found.value(option, value))
    return values
