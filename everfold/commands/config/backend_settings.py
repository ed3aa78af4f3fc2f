"""The settings of one backend: their names in `[backends.gpu1]` and in the environment, and checks.

Rule: a sentence names a key, never a value, which may be a secret.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from everfold.runner.access.address import header_fault
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import EverfoldError
from everfold.streams.events.checks import check_name, check_texts
from everfold.streams.events.ranges import RANGES
from everfold.streams.private_folder import expanded

Source = Literal["", "_file", "_command"]
"""How a setting's name ends where it names the place of a secret instead of the secret."""

MEANINGS = {
    "url": "The server's address.",
    "user": "The user of basic authentication, with `password`.",
    "password": "The password of `user`.",
    "headers": 'A table of headers that go with every request: `Authorization = "Bearer ..."`.',
    "ca_file": "Authorities (PEM) that its certificate may be signed by, besides the known ones.",
    "client_cert": "The client certificate (PEM), for a server that wants one.",
    "client_key": "The key of the client certificate. Default: in the same file.",
    "client_key_password": "The password of that key.",
    "labels": "What jobs may ask for by name, such as `gpu:24gb`.",
    "slots": "Jobs that it may hold. Default: the runner's `slots`.",
}
SECRETS = ("password", "client_key_password", "headers")
"""Each may be given as it is, or by the place where it is: see `Source`."""
FILES = ("ca_file", "client_cert", "client_key")

TYPES = {"labels": "list of strings", "slots": "integer", **dict.fromkeys(FILES, "path")}


class Given(Struct, frozen=True):
    """A setting as it was written: in a file, or as a text of the environment."""

    source: Source
    value: object
    folder: Path | None = None
    """Where paths and commands start; None for the current folder."""
    variable: str = ""
    """The variable that set it, empty for a file."""

    @property
    def text(self) -> str:
        return str(self.value)

    @property
    def path(self) -> str:
        """Return the path that it names."""
        return str((self.folder or Path()) / expanded(self.text))

    @property
    def texts(self) -> tuple[str, ...]:
        """Return a list; a text has commas between its parts."""
        if isinstance(self.value, Sequence) and not isinstance(self.value, str):
            return tuple(map(str, self.value))
        return tuple(one.strip() for one in self.text.split(",") if one.strip())


Settings = dict[str, Given]
"""Of one backend, by name: `url`, `password`, `headers.x-key`. A header's name is in lower case."""


def setting_of(key: str) -> tuple[str, Source] | None:
    """Return a key of a table as name and source; None for an unknown one."""
    first, dot, header = key.partition(".")
    for source in ("_file", "_command", ""):
        name = first.removesuffix(source) if source else first
        if not first.endswith(source) or name not in MEANINGS:
            continue
        if (source and name not in SECRETS) or bool(header) != (name == "headers"):
            continue
        return f"{name}{dot}{header.lower()}", source
    return None


def refusal(name: str, given: Given) -> str:
    """Say what a value must be, empty if it may be what it is."""
    is_list = isinstance(given.value, list) and all(isinstance(one, str) for one in given.value)
    if name == "labels" or given.source == "_command":
        if not (isinstance(given.value, str) or is_list) or not given.value:
            return "must be a list of strings"
        return _refused_list(name, given)
    if name == "slots":
        return _refused_slots(given.value)
    if not isinstance(given.value, str) or not given.value:
        return "must be a string that is not empty"
    if name.startswith("headers.") and not given.source:
        why = header_fault(name.removeprefix("headers."), Secret(given.value))
        return f"cannot be sent: {why}" if why else ""
    return ""


def _refused_list(name: str, given: Given) -> str:
    try:
        if name == "labels":
            check_texts("label", given.texts)
        elif isinstance(given.value, str):
            shlex.split(given.value)
    except (EverfoldError, ValueError) as error:
        is_label = isinstance(error, EverfoldError)
        return str(error) if is_label else "has a quote that is not closed"
    return ""


def _refused_slots(value: object) -> str:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    return "" if number in RANGES["slots"] else f"must be an integer {RANGES['slots'].ends}"


def refused_name(name: str) -> str:
    """Say why a backend cannot have this name, empty if it can."""
    try:
        check_name("backend name", name)
    except EverfoldError as error:
        return str(error)
    return ""


def words_of(given: Iterable[str]) -> list[str]:
    """Return the words that name backends, of texts that may hold several with commas between."""
    return [word.strip() for one in given for word in one.split(",") if word.strip()]


def named_url(word: str) -> tuple[str, str]:
    """Return name and URL of `gpu1=http://...`; an empty name and the word of any other."""
    name, mark, url = word.partition("=")
    return (name, url) if mark and not refused_name(name) else ("", word)


def unknown_key(key: str) -> str:
    """Say that a key is none of a backend's, and which one may be meant."""
    first = key.partition(".")[0]
    if first in ("headers", "headers_file", "headers_command"):
        return "must be a table of headers"
    known = [f"{name}{source}" for name in MEANINGS for source in sources_of(name)]
    near = difflib.get_close_matches(first, known, n=1, cutoff=0.7)
    if near:
        return f"is unknown; did you mean `{near[0]}`?"
    return f"is unknown; there are {', '.join(f'`{one}`' for one in MEANINGS)}"


def sources_of(name: str) -> tuple[Source, ...]:
    """Return the endings that a setting's name may have."""
    return ("", "_file", "_command") if name in SECRETS else ("",)


def from_environment(
    environ: Mapping[str, str], named: Sequence[str], commands: Sequence[str]
) -> tuple[dict[str, Settings], list[str]]:
    """Return what EVERFOLD_BACKENDS_GPU1_URL and its like set, and a sentence for each mistake.

    `named` are backends that are known already, in whose names other characters count as `_`;
    another backend has the variable's words in lower case. `commands` are words that begin the
    variables of commands.
    """
    found, problems = dict[str, Settings](), list[str]()
    by_word = {_word(name): name for name in named}
    for variable, value in sorted(environ.items()):
        rest = variable.removeprefix("EVERFOLD_BACKENDS_")
        if (
            rest == variable
            or not value
            or rest.startswith(tuple(f"{_word(c)}_" for c in commands))
        ):
            continue
        word, key = _split(rest, by_word)
        setting = setting_of(key)
        if setting is None:
            if word in by_word:
                problems.append(f"{variable} is no setting of backend {by_word[word]}")
            continue
        name, source = setting
        given = Given(source, value, variable=variable)
        if why := refusal(name, given):
            problems.append(f"{variable} {why}")
        settings = found.setdefault(by_word.get(word, word.lower()), {})
        if name in settings:
            problems.append(f"{variable} and another variable set one thing; unset one of them")
        settings[name] = given
    return found, problems


def _split(rest: str, by_word: Mapping[str, str]) -> tuple[str, str]:
    """Return the backend's part of a variable, and the key; an empty key where there is none."""
    known = [word for word in by_word if rest.startswith(f"{word}_")]
    for word in sorted(known, key=len, reverse=True):
        return word, _key(rest.removeprefix(f"{word}_"))
    parts = rest.split("_")
    for i in range(1, len(parts)):
        if setting_of(key := _key("_".join(parts[i:]))):
            return "_".join(parts[:i]), key
    return rest, ""


def _key(words: str) -> str:
    for table in ("HEADERS_FILE", "HEADERS_COMMAND", "HEADERS"):
        if words.startswith(f"{table}_"):
            header = words.removeprefix(f"{table}_").replace("_", "-")
            return f"{table}.{header}".lower()
    return words.lower()


def _word(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).upper()
