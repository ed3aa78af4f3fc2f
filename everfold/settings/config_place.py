"""Where the config file is: the one that is named, else the nearest one, else the user's; reads it.

Rule: a file that another user could have written is not taken, because it can name the server that
is trusted and programs to run.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from everfold.streams.errors import Misconfigured
from everfold.streams.private_folder import expanded

NAME = "everfold.toml"
VARIABLE = "EVERFOLD_CONFIG"
FLAG = "--config"


def _to_stderr(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def locate(tell: Callable[[str], None] = _to_stderr) -> Path | None:
    """Return the file that is named, else the nearest one, else the user's; None without any.

    Raises Misconfigured when the named one is not there, or when others may write to the one that
    was found. Folders that may not be looked into are passed over; so are files that other users
    have put there, and `tell` is called with a sentence.
    """
    if name := os.environ.get(VARIABLE):
        file = expanded(name)
        if not os.path.exists(file):
            raise Misconfigured(f"there is no config file {name} ({FLAG} or {VARIABLE} names it)")
        return file
    for file in _places():
        if not os.path.isfile(file):
            continue
        if (owner := _foreign_owner(file)) is None:
            _refuse_shared(file)
            return file
        tell(
            f"{file} is left out: user {owner} may have put it there for others to find; "
            f"name it with {FLAG} if you trust it"
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
                f"a config file can name programs to run; `chmod go-w {path}` makes it yours "
                f"alone; where the disk keeps no modes, name it with {FLAG}"
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


def read_toml(file: Path, name: str) -> dict[str, object]:
    """Return the tables of a file that people know by `name`. Raises Misconfigured."""
    from everfold.streams.events.json_text import UNDECODABLE  # not to find out where a file is

    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise Misconfigured(f"{name} cannot be read: {error.strerror}") from error
    except UNDECODABLE as error:
        raise Misconfigured(f"{name} is not TOML: {error}") from error
