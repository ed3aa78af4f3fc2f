"""The settings that a config file may have, as the commands declare them, and a file's mistakes.

Rule: a sentence names a key and its table, never the value, which may be a secret. Only commands
that a file has a table for are loaded, unless something is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import NamedTuple, Union, get_args, get_origin

from cyclopts import App, Argument, ArgumentCollection, CycloptsError
from cyclopts.annotations import resolve_optional
from cyclopts.argument import update_argument_collection

from everfold.commands.config.backend_settings import (
    Given,
    Settings,
    refusal,
    refused_name,
    setting_of,
    unknown_key,
)
from everfold.commands.config.limit_settings import TABLE as LIMITS
from everfold.commands.config.limit_settings import from_table as from_limits
from everfold.commands.config.limit_settings import without_limits
from everfold.commands.config.per_call import is_per_call
from everfold.commands.config.value_checks import fault_of
from everfold.commands.numbers import range_of
from everfold.commands.options import (
    AssetsPlace,
    ComfyUrls,
    DataFolder,
    IndexMetadata,
    LogFormat,
    LogLevel,
    Namespace,
    RedisCa,
    RedisCert,
    RedisCheckHostname,
    RedisKey,
    RedisUrl,
    ReplicaCount,
    ReplicasForEvents,
    ReplicasWithin,
)
from everfold.policy_settings import TABLE, PolicySetting, from_table
from everfold.streams.errors import EverfoldError
from everfold.streams.private_folder import expanded
from everfold.streams.queues.limits import Limit

PATH_OR_URL = "PATH|URL"
"""The metavar of an option that takes both."""

WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

DEEPEST = 10
"""Tables in one another that are looked into; no command has so many words."""

Command = tuple[str, ...]
"""A command's words, such as (archive, run); () for the top of a file."""

CONFIG = ("config",)
"""The command that no file sets."""

BACKENDS = "backends"
"""The command whose tables are those of backends, too."""

SHARED = App(name="shared")


@SHARED.default
def shared(
    *,
    namespace: Namespace = "everfold",
    redis_url: RedisUrl = None,
    redis_ca: RedisCa = None,
    redis_cert: RedisCert = None,
    redis_key: RedisKey = None,
    redis_check_hostname: RedisCheckHostname = True,
    replicas: ReplicaCount = None,
    replicas_within: ReplicasWithin = 1.0,
    replicas_for: ReplicasForEvents = "ends",
    comfyui: ComfyUrls = None,
    data: DataFolder = None,
    assets: AssetsPlace = None,
    index_metadata: IndexMetadata = None,
    log: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """The keys at the top of a file, which reach every command that has an option of that name."""


class Setting(NamedTuple):
    """One option of one command: `[archive.run] trim_after` is of the command (archive, run)."""

    command: Command
    argument: Argument

    @property
    def keys(self) -> list[str]:
        """Its names in a file, the usual one first."""
        names = [name for name in self.argument.names if name[:1] != "-" or name[:2] == "--"]
        return [_plain(name.lstrip("-")).lower() for name in names]

    @property
    def key(self) -> str:
        return self.keys[0]

    @property
    def name(self) -> str:
        """Its full name, such as archive.run.trim_after."""
        return ".".join((*self.command, self.key))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it, the strongest first.

        The last is its own, unless it says itself where its own stands.
        """
        own = "EVERFOLD_" + self.name.replace(".", "_").replace("-", "_").upper()
        named = tuple(self.argument.parameter.env_var or ())
        if own in named:
            return named
        return (*named, own) if self.command or not named else named

    @property
    def is_per_call(self) -> bool:
        return is_per_call(self.argument)

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if choices := self.argument.get_choices(force=True):
            return f"one of {', '.join(choices)}"
        hint, metavar = resolve_optional(self.argument.hint), self.argument.parameter.metavar or ""
        is_one = get_origin(hint) in (Union, UnionType)  # of several types of one value
        inside = [] if is_one else [one for one in get_args(hint) if one is not ...]
        name = getattr(inside[0] if inside else hint, "__name__", "value").lower()
        is_time = metavar.startswith(("DURATION", "TIME"))
        word = metavar.strip(".").lower() if is_time else WORDS.get(name, name)
        word = "path or URL" if metavar == PATH_OR_URL else word
        size = f"{len(inside)} " if len(inside) > 1 else ""
        return f"list of {size}{word}s" if inside else word

    def refusal(self, value: object) -> str:
        """Say why a file may not set this value, empty if it may; it is read as a flag's is."""
        if self.is_per_call:
            return "belongs to one call: give it on the command line"
        probe = copy(self.argument)
        probe.tokens = []
        arguments = ArgumentCollection([probe])  # type: ignore[no-untyped-call]
        try:
            update_argument_collection(
                {self.key: value}, "", arguments, root_keys=(), allow_unknown=False
            )
            probe.convert()
        except (CycloptsError, EverfoldError):
            number = range_of(self.argument.parameter)
            ends = f" {number.ends}" if number else ""
            return f"must be {_article(self.expected)}{self.expected}{ends}"
        return fault_of(self.key, value)


class CheckedFile(NamedTuple):
    """What a file sets, by command and dotted key, and a sentence for each mistake in it."""

    values: dict[Command, dict[str, object]]
    problems: list[str]
    backends: Mapping[str, Settings] = MappingProxyType({})
    policies: Sequence[PolicySetting] = ()
    limits: Sequence[Limit] = ()


def settings_of(app: App, command: Command, *, described: bool = False) -> list[Setting]:
    """Return the settings of one command; `described` includes their help."""
    return [Setting(command, one) for one in _arguments(app if command else SHARED, described)]


def _arguments(app: App, described: bool) -> tuple[Argument, ...]:
    """Return what a command takes. Found once, because that takes long; nobody changes it."""
    if app.default_command is None:
        return ()
    key = (id(app), described)
    if key not in _known:
        found = app.assemble_argument_collection(parse_docstring=described)
        _known[key] = (app, tuple(o for o in found if o.parse and o.name and not o.children))
    return _known[key][1]


_known: dict[tuple[int, bool], tuple[App, tuple[Argument, ...]]] = {}
"""By the identity of the command, which is kept so that no other one gets it."""


def all_settings(app: App, command: Command = (), described: bool = False) -> Iterator[Setting]:
    """Yield the settings of a command and of all below it, which are loaded.

    `config` has none, and a command with two names has them once.
    """
    yield from settings_of(app, command, described=described)
    first = {id(app[name]): name for name in reversed(list(app)) if not name.startswith("-")}
    for name in reversed(first.values()):
        if (*command, name) != CONFIG:
            yield from all_settings(app[name], (*command, name), described)


def check(document: Mapping[str, object], root: App, folder: Path) -> CheckedFile:
    """Check a whole file against the commands of `root`. Its paths start at `folder`."""
    values: dict[Command, dict[str, object]] = {}
    settings: dict[Command, list[Setting]] = {}
    problems: dict[str, None] = {}
    backends: dict[str, Settings] = {}
    policies, wrong = from_table(document.get(TABLE, {}))
    limits, refused = from_limits(document.get(LIMITS, {}))
    problems.update(dict.fromkeys((*wrong, *refused)))
    rest = {key: one for key, one in without_limits(document).items() if key != TABLE}
    for path, value in _leaves(rest):
        if _is_of_backend(path, root):
            problems.update(_set_backend(backends, path, value, folder))
            continue
        command, app = _command(path, root)
        known = settings.setdefault(command, settings.get(command) or settings_of(app, command))
        taken, key = values.setdefault(command, {}), _plain(".".join(path[len(command) :]))
        setting = next((one for one in known if key in one.keys), None)
        if setting is None:
            problems[_unknown(path, command, known, app, root)] = None
        elif why := "is there twice" if setting.key in taken else setting.refusal(value):
            problems[f"`{setting.key}`{_in(command)} {why}"] = None
        else:
            taken[setting.key] = _anchored(value, folder) if "path" in setting.expected else value
    return CheckedFile(values, list(problems), backends, policies, limits)


def _is_of_backend(path: Command, root: App) -> bool:
    """Say whether a leaf stands in a table such as [backends.gpu1], which is no command's."""
    return len(path) > 1 and path[0] == BACKENDS and path[1] not in root[BACKENDS]


def _set_backend(
    backends: dict[str, Settings], path: Command, value: object, folder: Path
) -> dict[str, None]:
    """Set what a leaf says of a backend; return a sentence for each mistake."""
    name, table = path[1], f"[{BACKENDS}.{path[1]}]"
    if why := refused_name(name):
        return {why: None}
    settings = backends.setdefault(name, {})
    if len(path) == 2:
        is_table = isinstance(value, Mapping)
        return (
            {} if is_table else {f"`{name}` in [{BACKENDS}] must be a table: write {table}": None}
        )
    key = ".".join((_plain(path[2]), *path[3:]))
    setting = setting_of(key)
    if setting is None:
        return {f"`{_plain(path[2])}` in {table} {unknown_key(key)}": None}
    given = Given(setting[1], value, folder)
    if setting[0] in settings:
        return {f"`{key}` in {table} is there twice, or in two ways": None}
    settings[setting[0]] = given
    why = refusal(setting[0], given)
    return {f"`{key}` in {table} {why}": None} if why else {}


def _leaves(table: Mapping[str, object], above: Command = ()) -> Iterator[tuple[Command, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value and len(above) < DEEPEST:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _command(path: Command, root: App) -> tuple[Command, App]:
    """Return the command whose table a leaf stands in."""
    app = root
    for i, word in enumerate(path[:-1]):
        if word.startswith("-") or word not in app or path[: i + 1] == CONFIG:
            return path[:i], app
        app = app[word]
    return path[:-1], app


def _anchored(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_anchored(one, folder) for one in value]
    if "://" in str(value):
        return value
    return str(folder / expanded(str(value)))


def _unknown(path: Command, command: Command, known: list[Setting], app: App, root: App) -> str:
    """Say that a key is not known, and which one may be meant."""
    key, is_in_table = _plain(path[len(command)]), len(path) > len(command) + 1
    if command[:1] == (BACKENDS,) and setting_of(key):
        return f"no backend can be named `{command[-1]}`, which is a command: choose another name"
    keys = [one.key for one in known if not one.is_per_call]
    tables = [name for name in app if not name.startswith("-") and (*command, name) != CONFIG]
    table = f"[{'.'.join((*command, key))}]"
    if key in keys:
        return f"`{key}`{_in(command)} must not be a table"
    if key in tables:
        return f"`{key}`{_in(command)} must be a table: write {table}"
    if is_in_table and not any(one.startswith(f"{key}.") for one in keys):
        names = [f"[{'.'.join((*command, name))}]" for name in tables]
        return f"unknown table {table}{_instead(table, names)}"
    if is_in_table:
        keys = [one.removeprefix(f"{key}.") for one in keys if one.startswith(f"{key}.")]
        command, key = path[:-1], _plain(path[-1])
    hint = _instead(f"`{key}`", [f"`{one}`" for one in keys])
    others = [_in(one.command) for one in all_settings(root) if one.key == key]
    if others and "did you mean" not in hint:
        hint = "; did you mean it" + " or".join(others[:3]) + "?"
    return f"unknown key `{key}`{_in(command)}{hint}"


def _instead(wrong: str, names: list[str]) -> str:
    if near := difflib.get_close_matches(wrong.lower(), names, n=1, cutoff=0.7):
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(sorted(names))}" if names else ""


def _article(words: str) -> str:
    return "" if words.startswith("one of") else "an " if words[0] in "aeiou" else "a "


def _in(command: Command) -> str:
    return f" in [{'.'.join(command)}]" if command else " at the top"


def _plain(key: str) -> str:
    return key.replace("-", "_")
