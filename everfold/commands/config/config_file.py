"""The config file: where it is, what it says, and its place among the sources of options.

Rule: a flag comes before a variable, a variable before the file. A file is taken as a whole, or
refused with one sentence, whichever command is run.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, ArgumentCollection
from cyclopts.argument import update_argument_collection
from cyclopts.config import Env

from everfold.commands.config.per_call import may_come_from_environment
from everfold.streams.errors import Misconfigured

if TYPE_CHECKING:
    from everfold.commands.config.settings import CheckedFile
    from everfold.policy_settings import PolicySettings
    from everfold.streams.queues.limits import Limit

NAME = "everfold.toml"
VARIABLE = "EVERFOLD_CONFIG"
FLAG = "--config"


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


def locate() -> Path | None:
    """Return the file that is named, else the nearest one, else the user's; None without any.

    Raises Misconfigured when the named one is not there, or when others may write to the one that
    was found. Folders that may not be looked into are passed over; so are files that other users
    have put there, with a sentence on stderr.
    """
    if name := os.environ.get(VARIABLE):
        file = Path(name).expanduser()
        if not os.path.exists(file):
            raise Misconfigured(f"there is no config file {name} ({FLAG} or {VARIABLE} names it)")
        return file
    for file in _places():
        if not os.path.isfile(file):
            continue
        if (owner := _foreign_owner(file)) is None:
            _refuse_shared(file)
            return file
        sys.stderr.write(
            f"{file} is left out: user {owner} may have put it there for others to find; "
            f"name it with {FLAG} if you trust it\n"
        )
    return None


def _foreign_owner(file: Path) -> int | None:
    """Return the id of another user to whom the file, its folder or a link to it belongs.

    Of a folder like /tmp, where nobody can replace the files of others, the file alone counts.
    """
    folder = file.parent.stat()
    found = [file.lstat(), file.stat(), *([] if folder.st_mode & stat.S_ISVTX else [folder])]
    ours = (0, os.geteuid())
    return next((one.st_uid for one in found if one.st_uid not in ours), None)


def _refuse_shared(file: Path) -> None:
    """Raise Misconfigured for a file that other users could change or replace."""
    for path in (file.parent, file):
        mode = path.stat().st_mode
        is_sticky = path != file and mode & stat.S_ISVTX
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
            raise Misconfigured(
                f"{file} is not used: other users may write to {path} (mode {mode & 0o777:o}), and "
                f"a config file can name programs to run; `chmod go-w {path}` makes it yours alone"
            )


def _places() -> Iterator[Path]:
    if here := _here():
        yield from (folder / NAME for folder in (here, *here.parents))
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    yield Path(home, "everfold", NAME)


def _here() -> Path | None:
    """Return the current folder, None if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def shown(file: Path) -> str:
    """Return a file as people would write it from here."""
    here = _here()
    return str(file.relative_to(here) if here and file.is_relative_to(here) else file)


def check_file(file: Path, app: App) -> CheckedFile:
    """Read and check a file. Raises Misconfigured for a file that is not TOML."""
    from everfold.commands.config.settings import check
    from everfold.streams.events.json_text import UNDECODABLE

    try:
        document = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise Misconfigured(f"{shown(file)} cannot be read: {error.strerror}") from error
    except UNDECODABLE as error:
        raise Misconfigured(f"{shown(file)} is not TOML: {error}") from error
    return check(document, app, file.absolute().parent)


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
        from everfold.streams.redis.tls import Tls

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
