"""The options of all commands, as a config file may set them.

Rule: what a command offers is read from the command itself; `options.json` repeats it, so that a
start with a config file need not load all commands. A test compares the two.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, Union, cast, get_args, get_origin

import msgspec
from cyclopts import App
from cyclopts.argument import Argument

PREFIX = "EVERFOLD_"
RECORD = "options.json"

SHARED = {
    "namespace": "EVERFOLD_NAMESPACE",
    "redis_url": "REDIS_URL",
    "comfyui": "COMFYUI_URL",
    "data": "EVERFOLD_DATA",
}
"""Keys at the top of the file: they reach every command whose option has this variable."""

PER_CALL = {"json", "config", "cursor", "idempotency_key", "into_live"}
"""Options that mean one call; in a file they would spoil the others."""

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

WORDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "path",
    datetime: "time",
}
ANY = "any"


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """One setting: `[archive.run] trim_after` has the command (archive, run)."""

    command: tuple[str, ...]
    path: tuple[str, ...]
    """Its key, in several parts where the flag has dots."""
    type: str
    choices: tuple[str, ...] = ()
    many: bool = False
    size: int = 0
    """How many values there must be; 0 for any number."""
    variables: tuple[str, ...] = ()
    """The environment variables that set it, the strongest first."""
    per_call: bool = False
    default: str = ""
    meaning: str = ""

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def setting(self) -> str:
        """Its full name, such as archive.run.trim_after."""
        return ".".join((*self.command, *self.path))

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        one = f"one of {', '.join(self.choices)}" if self.choices else self.type
        if one == "time" and not self.many:
            return "time such as 2030-01-31T12:00:00"
        if self.many:
            count = f"{self.size} " if self.size else ""
            return f"list of {count}{one if self.choices or one == ANY else one + 's'}"
        return one


LOG = Option(
    command=(),
    path=("log",),
    type="string",
    choices=LOG_LEVELS,
    variables=("EVERFOLD_LOG",),
    default="WARNING",
    meaning="What commands that go on running write to standard error.",
)

Tree: TypeAlias = "dict[str, Option | Tree]"


def tree(options: list[Option]) -> Tree:
    """Arrange options as a file has them. ValueError where a key and a table have one name."""
    root: Tree = {}
    for option in options:
        node, parts = root, (*option.command, *option.path)
        for part in parts[:-1]:
            below = node.setdefault(part.replace("-", "_"), {})
            if isinstance(below, Option):
                raise ValueError(f"{below.setting} is an option and a table")
            node = below
        if parts[-1] in node:
            raise ValueError(f"{option.setting} is there twice")
        node[parts[-1]] = option
    return root


def recorded() -> list[Option]:
    """Return the options as they were written down, loading no command."""
    text = resources.files("everfold.commands.config").joinpath(RECORD).read_bytes()
    return msgspec.json.decode(text, type=list[Option])


def described(app: App) -> list[Option]:
    """Return the options of all commands, loading every one; the shared ones first."""
    own = [option for command, below in commands(app) for option in _options(command, below)]
    return [*_shared(own), *own]


def commands(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield everything that can be run, with its words; `config` itself is not set by a file."""
    for name in app:
        command = (*above, name)
        if name.startswith("-") or command == ("config",):
            continue
        below = app[name]
        if below.default_command is not None:
            yield command, below
        yield from commands(below, command)


def _shared(own: list[Option]) -> Iterator[Option]:
    for key, variable in SHARED.items():
        found = (o for o in own if o.path == (key,) and variable in o.variables and o.meaning)
        yield msgspec.structs.replace(next(found), command=(), variables=(variable,))
    yield LOG


def _options(command: tuple[str, ...], app: App) -> Iterator[Option]:
    for argument in app.assemble_argument_collection(parse_docstring=True):
        if argument.parse and not _is_group(argument):
            yield _option(command, argument)


def _is_group(argument: Argument) -> bool:
    return bool(argument.children) or argument.name == "*"


def _option(command: tuple[str, ...], argument: Argument) -> Option:
    name = argument.name.lstrip("-")
    path = tuple(part.replace("-", "_").lower() for part in name.split("."))
    one, choices, many = _type(argument.hint)
    own = "_".join((*command, *path)).upper()
    return Option(
        command=command,
        path=path,
        type=one,
        choices=choices,
        many=many,
        size=_size(argument.hint) if many else 0,
        variables=(*(argument.parameter.env_var or ()), f"{PREFIX}{own}"),
        per_call=argument.index is not None or path[-1] in PER_CALL,
        default=_default(argument),
        meaning=" ".join((argument.parameter.help or "").split()),
    )


def _default(argument: Argument) -> str:
    default = argument.field_info.default
    if argument.field_info.required:
        return "required"
    if default is argument.field_info.empty or default in (None, "", (), []):
        return ""
    if isinstance(default, enum.Enum):
        return default.name.lower()
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type(hint: object) -> tuple[str, tuple[str, ...], bool]:
    """Return the word for one value, its choices, and whether there may be several."""
    origin, inside = get_origin(hint), [a for a in get_args(hint) if a is not type(None)]
    if origin in (Union, types.UnionType):
        return _type(inside[0]) if len(inside) == 1 else (ANY, (), False)
    if origin is Literal:
        return "string", tuple(map(str, inside)), False
    if origin is dict:
        return "table", (), False
    if origin is not None and inside:
        one, choices, _ = _type(inside[0])
        return one, choices, True
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "string", tuple(one.name.lower().replace("_", "-") for one in hint), False
    return WORDS.get(cast("type", hint), ANY), (), False


def _size(hint: object) -> int:
    """Return how many values a tuple takes; 0 for any number."""
    inside = [a for a in get_args(hint) if a is not type(None)]
    if get_origin(hint) in (Union, types.UnionType):
        return _size(inside[0])
    return len(inside) if get_origin(hint) is tuple and ... not in inside else 0
