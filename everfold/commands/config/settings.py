"""The settings that a config file may have, as the commands declare them, and a file's mistakes.

Rule: a sentence names a key and its table, never the value, which may be a secret. Only commands
that a file has a table for are loaded, unless something is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args, get_origin

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Parameter, Token
from cyclopts.annotations import resolve_optional
from cyclopts.argument import update_argument_collection

from everfold.commands.options import ComfyUrls, DataFolder, Namespace, RedisUrl
from everfold.streams.errors import EverfoldError

PER_CALL = {"json", "config", "cursor", "idempotency_key", "into_live"}
"""Options that mean one call; in a file they would change all others too."""

CONFIG = ("config",)
"""The command that no file sets."""

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

Command = tuple[str, ...]
"""A command's words, such as (archive, run); () for the top of a file."""

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

SHARED = App(name="shared")


def _level(_: object, tokens: Sequence[Token]) -> str:
    level = tokens[0].value.upper()
    if level not in get_args(Level):
        raise ValueError("no level of logging")
    return level


@SHARED.default
def shared(
    *,
    namespace: Namespace = "everfold",
    redis_url: RedisUrl = None,
    comfyui: ComfyUrls = None,
    data: DataFolder = None,
    log: Annotated[Level, Parameter(converter=_level)] = "WARNING",
) -> None:
    """The keys at the top of a file, which reach every command that has an option of that name.

    Parameters
    ----------
    log
        The level from which processes log to standard error.
    """


class Setting(NamedTuple):
    """One option of one command: `[archive.run] trim_after` is of the command (archive, run)."""

    command: Command
    argument: Argument

    @property
    def key(self) -> str:
        return _plain(self.argument.name.lstrip("-")).lower()

    @property
    def name(self) -> str:
        """Its full name, such as archive.run.trim_after."""
        return ".".join((*self.command, self.key))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it, the strongest first; the last is its own."""
        own = "EVERFOLD_" + self.name.replace(".", "_").upper()
        named = tuple(self.argument.parameter.env_var or ())
        return (*named, own) if self.command or not named else named

    @property
    def is_table(self) -> bool:
        """Whether it is a table of free keys."""
        return get_origin(resolve_optional(self.argument.hint)) is dict

    @property
    def is_per_call(self) -> bool:
        return self.argument.index is not None or self.key in PER_CALL

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if choices := self.argument.get_choices(force=True):
            return f"one of {', '.join(choices)}"
        if self.is_table:
            return "table"
        hint, metavar = resolve_optional(self.argument.hint), self.argument.parameter.metavar or ""
        inside = [one for one in get_args(hint) if one is not ...]
        name = getattr(inside[0] if inside else hint, "__name__", "value").lower()
        is_time = metavar.startswith(("DURATION", "TIME"))
        word = metavar.strip(".").lower() if is_time else WORDS.get(name, name)
        size = f"{len(inside)} " if len(inside) > 1 else ""
        return f"list of {size}{word}s" if inside else word

    def takes(self, key: str) -> bool:
        """Whether a key of the file is this setting, or one of its free keys (`headers.x`)."""
        names = [_plain(name.lstrip("-")).lower() for name in self.argument.names]
        return _plain(key) in names or (self.is_table and key.startswith(f"{self.key}."))

    def refusal(self, key: str, value: object) -> str:
        """Say why a file may not set this value, empty if it may; it is read as a flag's is."""
        if self.is_per_call:
            return "belongs to one call: give it on the command line"
        probe = copy(self.argument)
        probe.tokens = []
        arguments = ArgumentCollection([probe])  # type: ignore[no-untyped-call]
        try:
            update_argument_collection(
                {key: value}, "", arguments, root_keys=(), allow_unknown=False
            )
            probe.convert()
        except (CycloptsError, EverfoldError):
            return f"must be {_article(self.expected)}"
        return ""


class CheckedFile(NamedTuple):
    """What a file sets, by command and dotted key, and a sentence for each mistake in it."""

    values: dict[Command, dict[str, object]]
    problems: list[str]


def settings_of(app: App, command: Command, *, described: bool = False) -> list[Setting]:
    """Return the settings of one command; `described` includes their help."""
    if app.default_command is None:
        return []
    found = app.assemble_argument_collection(parse_docstring=described)
    return [Setting(command, one) for one in found if one.parse and one.name and not one.children]


def all_settings(root: App, *, described: bool = False) -> Iterator[Setting]:
    """Yield the shared settings, then those of every command. Loads all commands."""
    yield from settings_of(SHARED, (), described=described)
    for command, app in commands(root):
        yield from settings_of(app, command, described=described)


def commands(app: App, above: Command = ()) -> Iterator[tuple[Command, App]]:
    """Yield every command under its first name, except `config`, which no file sets."""
    first = {id(app[name]): name for name in reversed(list(app)) if not name.startswith("-")}
    for name in reversed(first.values()):
        if (*above, name) != CONFIG:
            yield (*above, name), app[name]
            yield from commands(app[name], (*above, name))


def check(document: Mapping[str, object], root: App, folder: Path) -> CheckedFile:
    """Check a whole file against the commands of `root`. Its paths start at `folder`."""
    values: dict[Command, dict[str, object]] = {}
    problems = list[str]()
    for path, value in _leaves(document):
        command, app = _command(path, root)
        known = settings_of(app if command else SHARED, command)
        taken = values.setdefault(command, {})
        key = ".".join(path[len(command) :])
        setting = next((one for one in known if one.takes(key)), None)
        if setting is None:
            problems.append(_unknown(path, command, known, app, root))
            continue
        key = key if setting.is_table else setting.key
        if (
            wrong := "is there twice, once with hyphens"
            if key in taken
            else setting.refusal(key, value)
        ):
            problems.append(f"`{key}`{_in(command)} {wrong}")
        else:
            taken[key] = _anchored(value, folder) if "path" in setting.expected else value
    return CheckedFile(values, list(dict.fromkeys(problems)))


def _leaves(table: Mapping[str, object], above: Command = ()) -> Iterator[tuple[Command, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _command(path: Command, root: App) -> tuple[Command, App]:
    """Return the command whose table a leaf stands in; `config` has none."""
    app = root
    for i, word in enumerate(path[:-1]):
        if word.startswith("-") or word not in app or path[: i + 1] == CONFIG:
            return path[:i], app
        app = app[word]
    return path[:-1], app


def _anchored(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_anchored(one, folder) for one in value]
    return str(folder / Path(str(value)).expanduser())


def _unknown(path: Command, command: Command, known: list[Setting], app: App, root: App) -> str:
    """Say that a key is not known, and which one may be meant."""
    key, is_in_table = _plain(path[len(command)]), len(path) > len(command) + 1
    keys = [one.key for one in known if not one.is_per_call]
    tables = [name for name in app if not name.startswith("-") and (*command, name) != CONFIG]
    if key in keys:
        return f"`{key}`{_in(command)} must not be a table"
    if key in tables:
        return f"`{key}`{_in(command)} must be a table: write {_table((*command, key))}"
    if is_in_table and not any(one.startswith(f"{key}.") for one in keys):
        near = [_table((*command, name)) for name in _near(key, tables)]
        return f"unknown table {_table((*command, key))}{_instead(near, tables, 'tables')}"
    if is_in_table:
        prefix = f"{key}."
        keys = [one.removeprefix(prefix) for one in keys if one.startswith(prefix)]
        command, key = path[:-1], path[-1]
    near = [f"`{name}`" for name in _near(_plain(key), keys)]
    if not near:
        others = (one for one in all_settings(root) if one.key == _plain(key))
        near = [f"`{key}`{_in(one.command)}" for one in others if not one.is_per_call]
    return f"unknown key `{key}`{_in(command)}{_instead(near, keys, 'keys')}"


def _near(key: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(key.lower(), names, n=1)


def _instead(near: list[str], names: list[str], kind: str) -> str:
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    return f"; the {kind} there are {', '.join(sorted(names))}" if names else ""


def _article(words: str) -> str:
    if words.startswith("one of"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _in(command: Command) -> str:
    return f" in {_table(command)}" if command else " at the top"


def _table(words: Command) -> str:
    return f"[{'.'.join(words)}]"


def _plain(key: str) -> str:
    return key.replace("-", "_")
