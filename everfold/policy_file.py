"""The policies of a config file, for the Python client, which reads nothing else of it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from everfold.policy_settings import TABLE, PolicySettings, from_environment, from_table
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.json_text import UNDECODABLE


def read_policy_settings(file: str | Path) -> PolicySettings:
    """Return what a file and the variables EVERFOLD_POLICY_... set of policies.

    Raises InvalidName for what is no path, Misconfigured for a file that cannot be read or that has
    a mistake in these tables.
    """
    if not isinstance(file, str | Path):
        raise InvalidName("config", file, "pass the path of a file")
    try:
        document = tomllib.loads(Path(file).expanduser().read_text("utf-8-sig"))
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}") from error
    except UNDECODABLE as error:
        raise Misconfigured(f"{file} is not TOML: {error}") from error
    rows, problems = from_table(document.get(TABLE, {}))
    for problem in problems:
        raise Misconfigured(f"{file}: {problem}")
    return PolicySettings((*rows, *from_environment(os.environ)))
