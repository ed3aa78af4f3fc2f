"""`everfold config show|check`: what the config file says, and whether that is understood."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from everfold.commands.app import app
from everfold.commands.config.backend_settings import SECRETS
from everfold.commands.config.config_file import check_file, checked
from everfold.commands.config.limit_settings import TABLE
from everfold.commands.config.settings import CheckedFile, Setting, all_settings
from everfold.commands.options import ConfigPath, Json
from everfold.commands.output import emit, say, show, warn
from everfold.embedded import named_url
from everfold.policy_settings import from_environment, shown_value, word
from everfold.settings.config_place import locate, shown
from everfold.streams.border.addresses import (
    MASK,
    masked_address,
    masked_receiver,
    masked_text,
)
from everfold.streams.errors import Misconfigured

config = App(name="config", help="Show and check the config file, everfold.toml.")

USAGE = 2

SECRET_NAMES = re.compile(r"secret|key|password|passwd|token|auth|header|credential", re.I)
ADDRESS_NAMES = re.compile(r"url|comfyui|host|archive|assets", re.I)

NO_FILE = (
    "no config file: there is no everfold.toml here, in a folder above, or in ~/.config/everfold"
)


class Effective(msgspec.Struct, frozen=True):
    """A setting as commands get it, unless a flag says otherwise."""

    setting: str
    value: object
    origin: str = msgspec.field(name="from")


@config.command(name="show")
def show_settings(*, json: Json = False, config: ConfigPath = None) -> int:
    """Show what the file and the environment set, and which of the two. Secrets are masked."""
    file = locate()
    found = checked(file, app) if file else CheckedFile({}, [])
    rows = list(effective(found, file.name if file else ""))
    rows += of_backends(file.name if file else "")
    rows += of_policies(found, file.name if file else "")
    rows += of_limits(found, file.name if file else "")
    if json:
        for row in rows:
            emit(row)
        return 0
    say(f"file  {file.absolute()}" if file else NO_FILE)
    if rows:
        show(
            rows,
            {
                "setting": lambda row: row.setting,
                "from": lambda row: row.origin,
                "value": lambda row: _written(row.value),
            },
        )
    return 0


@config.command(name="check")
def check_settings(
    file: Annotated[
        Path | None, Parameter(help="The file. Default: the one that commands use.")
    ] = None,
    *,
    config: ConfigPath = None,
) -> int:
    """Check a config file and print all that is wrong in it; exit code 2 if anything is."""
    place = file or locate()
    if place is None:
        raise Misconfigured(NO_FILE)
    found = check_file(place, app)
    for problem in found.problems:
        warn(f"{shown(place)}: {problem}")
    if not found.problems:
        tables = [len(table) for table in found.values.values()]
        count = sum(tables) + sum(len(table) for table in found.backends.values())
        count += len(found.policies) + len(found.limits)
        say(f"{shown(place)}: {count} settings, all known")
    return USAGE if found.problems else 0


def effective(found: CheckedFile, origin: str) -> Iterator[Effective]:
    """Yield what a file or a variable sets. A variable of several commands is shown once."""
    names = set[str]()
    for setting in all_settings(app):
        in_file = found.values.get(setting.command, {}).get(setting.key)
        variable, value = _from_environment(setting)
        if setting.is_per_call or (in_file is None and not variable):
            continue
        is_own = in_file is not None or variable == setting.variables[-1]
        name = setting.name if is_own else setting.key
        if name not in names:
            names.add(name)
            chosen = value if variable else in_file
            yield Effective(name, masked(setting.name, chosen), variable or origin)


def of_backends(origin: str) -> Iterator[Effective]:
    """Yield what a file and the environment set of backends, with each secret masked."""
    from everfold.commands.config.backends import Backends

    for name, settings in Backends.read().settings.items():
        for key, given in settings.items():
            is_secret = not given.source and key.partition(".")[0] in (*SECRETS, "user")
            # A user may be a token, and a command's arguments may be secrets, too.
            hidden = MASK if is_secret or given.source == "_command" else given.value
            value = masked_address(given.text) if key == "url" else hidden
            first, dot, header = key.partition(".")
            setting = f"backends.{name}.{first}{given.source}{dot}{header}"
            yield Effective(setting, value, given.variable or origin)


def of_policies(found: CheckedFile, origin: str) -> Iterator[Effective]:
    """Yield what a file and the environment set of policies; the later of two counts."""
    rows = [*found.policies, *from_environment(os.environ)]
    variables = {(row.scope, row.of, row.key) for row in rows if row.variable}
    for row in rows:
        of = row.of if row.variable else word(row.of) if row.scope else ""
        if row.variable or (row.scope, of, row.key) not in variables:
            yield Effective(row.name, shown_value(row), row.variable or origin)


def of_limits(found: CheckedFile, origin: str) -> Iterator[Effective]:
    """Yield what a file sets of limits."""
    for one in found.limits:
        yield Effective(f"{TABLE}.{one.what}.{one.scope}.{one.name}", one.number, origin)


def _from_environment(setting: Setting) -> tuple[str, str]:
    """Return the variable that sets an option, and its value; empty if none does."""
    if setting.key == "redis_url" and not os.environ.get("REDIS_URL"):
        url = named_url(os.environ)
        name = "REDIS_URL_FILE" if os.environ.get("REDIS_URL_FILE") else "REDIS_HOST"
        return (name, url) if url else ("", "")
    found = ((name, os.environ.get(name, "")) for name in setting.variables)
    return next((one for one in found if one[1]), ("", ""))


def masked(name: str, value: object) -> object:
    """Return a value with its secrets masked: all of it where its name speaks of one."""
    if SECRET_NAMES.search(name):
        return MASK
    if isinstance(value, dict):
        return {key: masked(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [masked(name, one) for one in value]
    if isinstance(value, str) and ADDRESS_NAMES.search(name):
        mask = masked_receiver if "webhook" in name else masked_address
        return masked_text(mask(value))
    if isinstance(value, str):
        return masked_text(value)
    return value


def _written(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
