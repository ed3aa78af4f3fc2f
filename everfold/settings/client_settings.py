"""What the Python client takes from arguments, environment and config file.

Rule: an argument comes before a variable, a variable before the file, as for commands. Of the file
only the keys at its top that name a server, a namespace and places count, and its policies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from everfold.embedded import find_server, named_url
from everfold.policy_settings import (
    NO_SETTINGS,
    TABLE,
    PolicySetting,
    PolicySettings,
    from_environment,
    from_table,
)
from everfold.settings.config_place import locate, read_toml, shown
from everfold.settings.replica_settings import REPLICA_KEYS, set_replicas, text_of
from everfold.streams.border.logger import get_logger
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.connections.tls import Tls, has_tls
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.private_folder import expanded
from everfold.streams.redis.replicas import Replicas

logger = get_logger("everfold.settings")

NAMESPACE = "everfold"

TEXTS = ("namespace", "redis_url")
PATHS = ("redis_ca", "redis_cert", "redis_key", "data", "assets")
SWITCH = "redis_check_hostname"
TLS_KEYS = ("redis_ca", "redis_cert", "redis_key", SWITCH)


class FileSettings(Struct, frozen=True):
    """What one config file sets for a client."""

    values: Mapping[str, str] = {}
    """Key at the top of the file -> its value as text; of a path from the file's folder on."""
    policies: tuple[PolicySetting, ...] = ()


class ClientSettings(Struct, frozen=True):
    """What a client connects with."""

    url: SecretUrl
    namespace: str
    policies: PolicySettings
    replicas: Replicas
    assets: str | None
    """Where the bytes of files are, if the file alone says it."""


def client_settings(
    url: str | SecretUrl | None,
    namespace: str | None,
    config: str | Path | PolicySettings | None,
    environ: Mapping[str, str] = os.environ,
) -> ClientSettings:
    """Return what a client connects with, from its arguments and what stands for those left out.

    `config` names the file, None is the one that commands would take; with policies no file counts.
    Raises InvalidName for what is no path, NoServer, Misconfigured for a file that cannot be read,
    that other users may write to, or that has a mistake in what counts here.
    """
    policies, said = NO_SETTINGS, FileSettings()
    if isinstance(config, PolicySettings):
        policies = config
    else:
        file = locate(_warn) if config is None else config
        said = FileSettings() if file is None else read_client_settings(file)
        policies = PolicySettings((*said.policies, *from_environment(environ)))
    values = said.values
    return ClientSettings(
        url=SecretUrl(_server(url, values, environ)),
        namespace=_first(namespace, environ.get("EVERFOLD_NAMESPACE"), values.get("namespace")),
        policies=policies,
        replicas=set_replicas(values, environ),
        assets=None if environ.get("EVERFOLD_ASSETS") else values.get("assets"),
    )


def _warn(sentence: str) -> None:
    logger.warning("file_not_read why=%s", sentence)


def _first(given: str | None, *others: str | None) -> str:
    return next((one for one in others if one), NAMESPACE) if given is None else given


def _server(url: object, values: Mapping[str, str], environ: Mapping[str, str]) -> str | SecretUrl:
    """Return the URL that is given, set or found, with the settings of TLS."""
    names = {key: environ.get(key.upper()) or values.get(key, "") for key in TLS_KEYS}
    tls = Tls.of({key.upper(): value for key, value in names.items()})
    if url is not None:
        if not isinstance(url, str | SecretUrl):
            return SecretUrl("")  # refused with a sentence when it is opened
        text = SecretUrl(url).reveal()
        return tls.added_to(text) if has_tls(text) else text
    if found := named_url(environ, tls):
        return found
    if stored := values.get("redis_url"):
        return tls.added_to(stored)
    data = None if environ.get("EVERFOLD_DATA") else values.get("data")
    return find_server(Path(data) if data else None, environ, tls)


def read_client_settings(file: str | Path) -> FileSettings:
    """Return what a file sets for a client. Raises as `client_settings` does."""
    if not isinstance(file, str | Path):
        raise InvalidName("config", file, "pass the path of a file")
    path = expanded(file)
    document = read_toml(path, str(file))
    rows, problems = from_table(document.get(TABLE, {}))
    for problem in problems:
        raise Misconfigured(f"{shown(path)}: {problem}")
    found = dict[str, str]()
    for name, value in document.items():
        key = name.replace("-", "_")
        if key in REPLICA_KEYS:
            found[key] = text_of(key, value, shown(path))
        elif key in TEXTS or key in PATHS or key == SWITCH:
            found[key] = _checked(key, value, path)
    return FileSettings(found, tuple(rows))


def _checked(key: str, value: object, file: Path) -> str:
    """Return a value as text. Raises Misconfigured with a sentence that does not show it."""
    if key == SWITCH and isinstance(value, bool):
        return "yes" if value else "no"
    if key == SWITCH or not isinstance(value, str):
        kind = "a boolean" if key == SWITCH else "a path" if key in PATHS else "a string"
        raise Misconfigured(f"{shown(file)}: `{key}` at the top must be {kind}")
    if key in TEXTS or "://" in value or not value:
        return value
    return str(file.absolute().parent / expanded(value))
