"""The backends that this machine has an access to: from flags, environment and config file.

Rule: `--comfyui`, COMFYUI_URL or the key `comfyui` choose backends; without any of them all that
have a table are meant. The rest of a backend's settings holds wherever it is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from everfold.commands.app import app
from everfold.commands.config.backend_settings import (
    Given,
    Settings,
    from_environment,
    named_url,
    words_of,
)
from everfold.commands.config.config_file import checked
from everfold.commands.config.secret_sources import NoSecret, secret_of_command, secret_of_file
from everfold.runner.access.access import Access
from everfold.runner.access.address import basic, header_fault, read_address
from everfold.runner.backend import BackendTraits
from everfold.settings.config_place import locate
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import EverfoldError, Misconfigured

NONE_NAMED = (
    "no ComfyUI is named: use --comfyui http://host:8188, COMFYUI_URL, or a table such as "
    "[backends.gpu1] in everfold.toml (`everfold simulator` simulates one)"
)


class Backends:
    """All backends that have settings here, whoever uses them."""

    def __init__(self, settings: dict[str, Settings]) -> None:
        self.settings = settings

    @classmethod
    def read(cls) -> Backends:
        """Read the config file and the environment. Raises Misconfigured."""
        file = locate()
        settings = dict(checked(file, app).backends) if file else {}
        commands = [word for word in app["backends"] if not word.startswith("-")]
        found, problems = from_environment(os.environ, [*settings], commands)
        for problem in problems:
            raise Misconfigured(problem)
        for name, own in found.items():
            settings[name] = {**settings.get(name, {}), **own}
        return cls(settings)

    def chosen(self, given: list[str] | None) -> list[Access]:
        """Return the access to each backend that is named: `gpu1=http://...`, a URL, or a name.

        Without any, those of all backends that have settings. Raises Misconfigured for none.
        """
        found = dict[str, Access]()
        for name, settings in self.named(given):
            access = access_of(name, settings)
            other = found.setdefault(access.url, access)
            if other.traits.title != access.traits.title:
                titles = f"{other.traits.title or 'one'} and {access.traits.title or 'another'}"
                raise Misconfigured(f"backends {titles} have one address, {access.url}")
        if not found:
            raise Misconfigured(NONE_NAMED)
        return [*found.values()]

    def named(self, given: list[str] | None) -> list[tuple[str, Settings]]:
        """Return name and settings of each backend that is named, without any of all.

        Raises BackendUrlInvalid.
        """
        return [self._named(word) for word in words_of(given or [])] or [*self.settings.items()]

    def known(self, besides: Iterable[Access] = ()) -> dict[str, Access]:
        """Return every access that can be used, by address: `besides`, and what has settings.

        What cannot be used is left out.
        """
        found = {access.url: access for access in besides}
        titles = {access.traits.title for access in found.values()}
        for name, settings in self.settings.items():
            if name in titles:
                continue
            try:
                access = access_of(name, settings)
            except EverfoldError:
                continue
            found.setdefault(access.url, access)
        return found

    def _named(self, word: str) -> tuple[str, Settings]:
        if word in self.settings:
            return word, self.settings[word]
        name, url = named_url(word)
        if name:
            return name, _with_url(self.settings.get(name, {}), url)
        url = read_address(word).url
        for name, settings in self.settings.items():
            if "url" in settings and read_address(settings["url"].text).url == url:
                return name, _with_url(settings, word)
        return "", _with_url({}, word)


def _with_url(settings: Settings, url: str) -> Settings:
    """Return the settings with another URL, whose user and password come before theirs."""
    replaced = ("user", "password", "headers.authorization") if "@" in url else ()
    kept = {name: given for name, given in settings.items() if name not in replaced}
    return {**kept, "url": Given("", url)}


def access_of(name: str, settings: Settings) -> Access:
    """Return the access that a backend's settings make, with its secrets read.

    Raises Misconfigured.
    """
    if "url" not in settings:
        raise Misconfigured(f"backend {name}: url is missing; write it like http://host:8188")
    address = read_address(settings["url"].text, _headers(name, settings))
    paths = {key: settings[key].path for key in ("ca_file", "client_cert", "client_key")
             if key in settings}  # fmt: skip
    slots = settings.get("slots")
    return Access(
        address=address,
        client_key_password=_secret(name, "client_key_password", settings) or Secret(""),
        traits=BackendTraits(
            title=name,
            labels=frozenset(settings["labels"].texts if "labels" in settings else ()),
            slots=int(slots.text) if slots else None,
        ),
        **paths,
    )


def _headers(name: str, settings: Settings) -> dict[str, str]:
    headers = dict[str, str]()
    for key in settings:
        if key.startswith("headers."):
            header = key.removeprefix("headers.")
            value = _secret(name, key, settings) or Secret("")
            if why := header_fault(header, value):
                raise Misconfigured(f"backend {name}: {key} cannot be sent: {why}")
            headers[header.title()] = value.reveal()
    password = _secret(name, "password", settings)
    if (user := settings.get("user")) is None:
        if password is not None:
            raise Misconfigured(f"backend {name}: password needs user")
        return headers
    if ":" in user.text:
        raise Misconfigured(f"backend {name}: user has a colon, which ends a user in the header")
    if "Authorization" in headers:
        raise Misconfigured(f"backend {name}: user and headers.Authorization exclude each other")
    if password is None:
        raise Misconfigured(f"backend {name}: user needs password")
    return {**headers, "Authorization": basic(user.text, password.reveal()).reveal()}


def _secret(backend: str, key: str, settings: Settings) -> Secret | None:
    """Return a secret by its own value, by its file or by its command; None if none is set."""
    given = settings.get(key)
    if given is None:
        return None
    try:
        if given.source == "_file":
            return secret_of_file(given.path)
        if given.source == "_command":
            words = given.text if isinstance(given.value, str) else given.texts
            return secret_of_command(words, given.folder)
    except NoSecret as error:
        setting = f"{key}{given.source}"
        raise Misconfigured(f"backend {backend}: {setting} is not read: {error}") from None
    return Secret(given.text)
