"""The config file: where it is, what it says, and its place among the sources of options.

Rule: a flag comes before a variable, a variable before the file. A file is taken as a whole, or
refused with one sentence, whichever command is run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, ArgumentCollection
from cyclopts.argument import update_argument_collection
from cyclopts.config import Env

from everfold.commands.config.per_call import may_come_from_environment
from everfold.settings.config_place import FLAG, NAME, VARIABLE, locate, read_toml, shown
from everfold.streams.errors import Misconfigured

if TYPE_CHECKING:
    from everfold.commands.config.settings import CheckedFile
    from everfold.policy_settings import PolicySettings
    from everfold.streams.queues.limits import Limit


def read_config(app: App, arguments: Sequence[str]) -> list[str]:
    """Let environment and config file set what flags leave open; return the other arguments.

    `--config FILE` may stand anywhere before `--`; it counts as EVERFOLD_CONFIG from then on.
    Raises Misconfigured when no file follows it. The file is read when a command is run, not for
    help.
    """
    rest, words = list[str](), iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == FLAG or word.startswith(f"{FLAG}="):
            named = word.partition("=")[2] or next(words, "")
            if not named:
                raise Misconfigured(f"{FLAG} needs a file: {FLAG} {NAME}")
            os.environ[VARIABLE] = named
        else:
            rest.append(word)
    app.config = (Env("EVERFOLD_", show=False), ConfigFile(app))
    return rest


def check_file(file: Path, app: App) -> CheckedFile:
    """Read and check a file. Raises Misconfigured for a file that is not TOML."""
    from everfold.commands.config.settings import check

    return check(read_toml(file, shown(file)), app, file.absolute().parent)


def checked(file: Path, app: App) -> CheckedFile:
    """Return what a file sets. Raises Misconfigured with the first thing that is wrong."""
    found = check_file(file, app)
    for problem in found.problems:
        raise Misconfigured(f"{shown(file)}: {problem}")
    return found


def policy_settings(app: App) -> PolicySettings:
    """Return what file and environment set of policies. Raises Misconfigured."""
    from everfold.policy_settings import PolicySettings, from_environment

    file = locate()
    rows = checked(file, app).policies if file else ()
    return PolicySettings((*rows, *from_environment(os.environ)))


def limit_settings(app: App) -> tuple[Sequence[Limit], str]:
    """Return the limits that the file sets, and the file's name. Raises Misconfigured."""
    file = locate()
    return (checked(file, app).limits, file.name) if file else ((), "")


class ConfigFile:
    """The last source of options for cyclopts: what neither a flag nor a variable has set."""

    def __init__(self, root: App) -> None:
        self._root = root

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        for argument in arguments:  # an empty variable counts as one that is not set
            is_settable = may_come_from_environment(argument)
            argument.tokens[:] = [
                token
                for token in argument.tokens
                if token.source != "env" or (token.value and is_settable)
            ]
        if commands[:1] == ("config",):
            return  # these commands look at the file themselves
        file = locate()
        if file is None:
            return
        from everfold.embedded import named_url
        from everfold.streams.connections.tls import Tls

        found = checked(file, self._root)
        top = found.values.get((), {})
        _set_variables(top)
        values = {**top, **found.values.get(commands, {})}
        if named_url(os.environ, Tls()):
            values.pop("redis_url", None)  # REDIS_HOST is a variable, which comes first
        update_argument_collection(values, shown(file), arguments, root_keys=(), allow_unknown=True)


def _set_variables(top: dict[str, object]) -> None:
    """Set the variables of what is also read where only the environment is known."""
    for key in ("log", "data", "assets"):
        variable = f"EVERFOLD_{key.upper()}"
        if key in top and not os.environ.get(variable):
            os.environ[variable] = str(top[key])
