"""`everfold config show|check`: what the config file says, and whether that is understood."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from everfold.commands.config.config_file import shown
from everfold.commands.config.configuration import Configuration, checked, read, wrong
from everfold.commands.config.options import Option, recorded
from everfold.commands.session import ConfigOption
from everfold.commands.words import console, emit
from everfold.embedded import named_url
from everfold.streams.errors import Misconfigured

config = App(name="config", help="Show and check the config file, everfold.toml.")

USAGE = 2

REDIS_HOST = "REDIS_HOST"
MASK = "***"
SECRET_NAMES = re.compile(r"secret|key|password|passwd|token|auth|header|credential", re.I)
URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):\S*@")
NAMED_SECRET = re.compile(rf"([\w-]*(?:{SECRET_NAMES.pattern})[\w-]*\s*[=:]\s*)[^&\s]+", re.I)

NONE = "no config file: there is no everfold.toml here, in a folder above, or in ~/.config/everfold"


class Effective(msgspec.Struct, frozen=True):
    """A setting as commands will get it, unless a flag says otherwise."""

    setting: str
    value: object
    origin: str


@config.command
def show(
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: ConfigOption = None,
) -> int:
    """Show what the file and the environment set, and which of the two; secrets are masked.

    Parameters
    ----------
    json
        Print JSON, one object per line, for programs.
    config
        The config file; else the nearest everfold.toml.
    """
    found = checked(config) if config else None
    rows = list(effective(found))
    if json:
        for row in rows:
            emit({"setting": row.setting, "value": row.value, "from": row.origin})
        return 0
    console.print(f"file  {found.file.absolute()}" if found else NONE, markup=False)
    for line in _lines(rows):
        console.print(line, markup=False)
    return 0


@config.command
def check(file: Path | None = None, *, config: ConfigOption = None) -> int:
    """Check a file, and say all that is wrong with it; exit code 2 if anything is.

    Parameters
    ----------
    file
        The config file; else the one that commands would take.
    config
        The same.
    """
    place = file or config
    if place is None:
        raise Misconfigured(NONE)
    problems = wrong(read(place))
    for what in problems:
        sys.stderr.write(f"{shown(place)}: {what}\n")
    if problems:
        return USAGE
    count = len(checked(place).settings)
    console.print(f"{shown(place)}: {count} settings, all known", markup=False)
    return 0


def effective(found: Configuration | None) -> Iterator[Effective]:
    """Yield what the file sets, or the environment in its place; then what only that sets."""
    settings = found.settings if found else []
    for option, value in settings:
        variable, own = _from_environment(option)
        assert found is not None
        chosen = own if variable else found.value(option, value)
        origin = variable or found.file.name
        yield Effective(option.setting, masked(option.key, chosen), origin)
    told = {option.setting for option, _ in settings}
    for option in recorded():
        variable, own = _from_environment(option)
        if not variable or option.per_call or option.setting in told:
            continue
        # A variable that several commands read is told once, by its key alone.
        setting = option.setting if variable == option.variables[-1] else option.key
        if setting not in told:
            told.add(setting)
            yield Effective(setting, masked(option.key, own), variable)


def _from_environment(option: Option) -> tuple[str, str]:
    """Return the variable that sets an option, and its value; empty where none does."""
    unnamed = option.path == ("redis_url",) and not os.environ.get("REDIS_URL")
    if unnamed and (url := named_url(os.environ)):
        return REDIS_HOST, url
    found = ((name, os.environ.get(name, "")) for name in option.variables)
    return next((one for one in found if one[1]), ("", ""))


def masked(name: str, value: object) -> object:
    """Return a value without what must not be shown."""
    if SECRET_NAMES.search(name):
        return MASK
    if isinstance(value, dict):
        return {key: masked(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [masked(name, one) for one in value]
    if isinstance(value, str):
        return NAMED_SECRET.sub(rf"\1{MASK}", URL_PASSWORD.sub(rf"\1:{MASK}@", value))
    return value


def _lines(rows: list[Effective]) -> Iterator[str]:
    names, origins = (
        max((len(text) for text in texts), default=0)
        for texts in ([row.setting for row in rows], [row.origin for row in rows])
    )
    for row in rows:
        yield f"{row.setting:<{names}}  {row.origin:<{origins}}  {_written(row.value)}"


def _written(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
