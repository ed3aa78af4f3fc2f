"""Where the config file is, and its place among the sources of options.

Rule: what a flag or a variable has set, the file leaves alone. Without a file it costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclopts import App
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from everfold.streams.errors import Misconfigured

NAME = "everfold.toml"
VARIABLE = "EVERFOLD_CONFIG"
FLAG = "--config"


def without_config(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Take `--config FILE` out of the arguments, wherever it stands before `--`."""
    rest, named = list[str](), None
    words = iter(arguments)
    for word in words:
        if word == FLAG or word.startswith(f"{FLAG}="):
            named = word.partition("=")[2] or next(words, "")
            if not named:
                raise Misconfigured(f"{FLAG} needs a file: {FLAG} {NAME}")
        elif word == "--":
            return [*rest, word, *words], named
        else:
            rest.append(word)
    return rest, named


def locate(named: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file that is named, else the nearest one, else the user's; None without any.

    Raises Misconfigured when the named one is not there. A folder that may not be looked into has
    none, which pathlib would raise about.
    """
    if name := named or environ.get(VARIABLE):
        file = Path(name).expanduser()
        if not os.path.exists(file):
            origin = FLAG if named else VARIABLE
            raise Misconfigured(f"there is no config file {name} ({origin} names it)")
        return file
    return next((place for place in places(environ) if os.path.isfile(place)), None)


def places(environ: Mapping[str, str]) -> list[Path]:
    """Return where a file that nobody named may be, the nearest first."""
    here = _here()
    folders = (here, *here.parents) if here else ()
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [*(folder / NAME for folder in folders), Path(home, "everfold", NAME)]


def _here() -> Path | None:
    """Return the current folder, unless somebody has deleted it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def shown(file: Path) -> str:
    """Return a file as people would write it from here."""
    here = _here()
    return str(file.relative_to(here) if here and file.is_relative_to(here) else file)


class ConfigFile:
    """The last source of options for cyclopts: what neither a flag nor a variable has set."""

    def __init__(self, named: str | None) -> None:
        self._named = named

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        _forget_empty(arguments)
        file = locate(self._named)
        if file is None:
            return
        if own := next((argument for argument in arguments if argument.name == FLAG), None):
            own.tokens.clear()  # the flag, which is no longer there, comes before the variable
            _source(file, commands, {"config": str(file)})(app, commands, arguments)
        if commands[:1] == ("config",):
            return  # these look at the file themselves, and say more about it
        # Most starts have no file: they need not load what reads one.
        from everfold.commands.config.configuration import checked, lend, values_for

        found = checked(file)
        lend(found)
        values = values_for(found, commands, arguments)
        _source(file, commands, values)(app, commands, arguments)


def _forget_empty(arguments: ArgumentCollection) -> None:
    """An empty variable counts as one that is not set, as it does for REDIS_HOST."""
    for argument in arguments:
        argument.tokens[:] = [t for t in argument.tokens if t.value or t.source != "env"]


def _source(file: Path, commands: tuple[str, ...], values: dict[str, object]) -> Dict:
    nested: dict[str, object] = values
    for word in reversed(commands):
        nested = {word: nested}
    return Dict(nested, source=shown(file))
