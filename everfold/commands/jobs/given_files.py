"""Reads what a submit is given besides its workflow: extra_data, and keys for partner nodes.

Rule: no key stands on a command line, where other users of the machine see it. An error names an
option and a file, and never what was in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everfold.commands.numbers import at_most
from everfold.streams.appending.body import PARTNER_KEYS, Given
from everfold.streams.border.secrets import Secret
from everfold.streams.border.values import shown
from everfold.streams.errors import InvalidName, TooLarge
from everfold.streams.events.json_text import NotJson, read_unique_json
from everfold.streams.events.limits import (
    EXTRA_DATA_LIMIT_BYTES,
    NESTING_LIMIT,
    PARTNER_KEY_LIMIT,
)

SPACES = 4
"""A file with line breaks and indents is at most so many times as large as its JSON."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GivenFiles:
    """What goes with the workflow."""

    extra_data: Annotated[
        str | None,
        at_most(
            "extra data",
            "What ComfyUI takes beside a graph, such as extra_pnginfo or preview_method: a JSON "
            "object, or a file that holds one.",
        ),
    ] = None
    partner_key_file: Annotated[
        list[str] | None,
        Parameter(
            help="A key for ComfyUI's partner nodes, as NAME=FILE; NAME is api_key_comfy_org. "
            "Repeat the option for more. Or set EVERFOLD_PARTNER_API_KEY_COMFY_ORG."
        ),
    ] = None

    def read(self) -> Given:
        """Return what is in them. Raises Refused."""
        extra = read_extra_data(self.extra_data) or {}
        return Given(dict(extra), read_partner_keys(self.partner_key_file or []))


NO_FILES = GivenFiles()


def read_extra_data(given: str | None) -> Mapping[str, object] | None:
    """Return a JSON object that was given as text, or that a file holds. Raises Refused."""
    if given is None:
        return None
    is_text = given.lstrip().startswith("{")
    content = given.encode() if is_text else _read("--extra-data", given, EXTRA_DATA_LIMIT_BYTES)
    try:
        found = read_unique_json(content, NESTING_LIMIT)
    except NotJson as error:
        raise InvalidName(
            "--extra-data", _name(given, is_text), f"it is no JSON: {error}"
        ) from None
    if not isinstance(found, dict):
        raise InvalidName("--extra-data", _name(given, is_text), "it must be a JSON object")
    return found


def _name(given: str, is_text: bool) -> str:
    return "that text" if is_text else given


def read_partner_keys(files: Sequence[str]) -> dict[str, Secret]:
    """Return the keys in files that were given as NAME=FILE, and those of the environment.

    A variable is EVERFOLD_PARTNER_ and a key's name in upper case. Raises Refused.
    """
    found = {name: Secret(key) for name in PARTNER_KEYS if (key := os.environ.get(_variable(name)))}
    for given in files:
        name, equals, path = given.partition("=")
        if not equals or name not in PARTNER_KEYS:
            # Not shown: it may be a key, given in the place of its file.
            rule = f"write it as NAME=FILE; the names are {', '.join(PARTNER_KEYS)}"
            raise InvalidName("--partner-key-file", "that value", rule)
        content = _read("--partner-key-file", path, PARTNER_KEY_LIMIT)
        found[name] = Secret(content.decode(errors="replace").strip())
    return found


def _variable(name: str) -> str:
    return f"EVERFOLD_PARTNER_{name.upper()}"


def _read(option: str, path: str, limit_bytes: int) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(SPACES * limit_bytes + 1)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidName(option, "that file", f"it cannot be read: {why}") from None
    if len(content) > SPACES * limit_bytes:
        raise TooLarge(f"the file {shown(path)}", len(content), SPACES * limit_bytes)
    return content
