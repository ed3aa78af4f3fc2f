"""The address of a ComfyUI server: one spelling per server, without secrets.

Rule: pure. `http://host:8188/` and `HTTP://HOST:8188` are one server; a user and password in the
URL become a header, because the URL is recorded in events and shown to people.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from everfold.streams.border.addresses import MASK, masked_address
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import BackendUrlInvalid, InvalidName

DEFAULT_PORTS = {"http": 80, "https": 443}

OWN_HEADERS = frozenset(
    {"host", "connection", "upgrade", "content-length", "content-type", "transfer-encoding"}
    | {"accept-encoding", "expect", "te", "trailer"}
)

PLAIN_HEADERS = OWN_HEADERS | {"accept", "user-agent"}

SHORT_SECRET = 6
"""Characters of a secret that may be a part of a common word."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")


class Address(Struct, frozen=True):
    """Where a server is, and which headers it needs."""

    url: str
    """Scheme, host, port and path prefix; no trailing slash, no user, no password."""
    headers: dict[str, Secret]
    """Sent with every request and with the websocket's handshake."""

    def revealed_headers(self) -> dict[str, str]:
        """Return the headers as they are sent."""
        return {name: value.reveal() for name, value in self.headers.items()}

    @property
    def websocket_url(self) -> str:
        """Return the URL with ws: or wss: in place of http: or https:."""
        return "ws" + self.url.removeprefix("http")


def read_address(url: str, headers: Mapping[str, str] | None = None) -> Address:
    """Return the address of a URL as people write it; `host:port` alone means http.

    A user and password become an Authorization header, which `headers` may replace. Raises
    BackendUrlInvalid, without the password in its text, and InvalidName for a header.
    """
    text = url.strip()
    if "://" not in text and ":" not in text.partition("/")[0]:
        raise BackendUrlInvalid(masked_address(text), "it has neither a scheme nor a port")
    parts = _split(text if "://" in text else f"http://{text}")
    host = _host(parts)
    path = parts.path.rstrip("/")
    given = {name: Secret(value) for name, value in (headers or {}).items()}
    for name, value in given.items():
        if why := header_fault(name, value):
            raise InvalidName("header", name, why)
    return Address(f"{parts.scheme}://{host}{path}", {**_authorization(parts), **given})


def header_fault(name: str, value: Secret) -> str:
    """Say why a header cannot be sent, without its value; empty if it can."""
    if not _HEADER_NAME.fullmatch(name):
        return "a header's name has letters, digits and hyphens"
    if name.lower() in OWN_HEADERS or name.lower().startswith("sec-websocket-"):
        return "the connection sets this header itself"
    text = value.reveal()
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        return "its value has a line end, a space at an end, or a character that is not ASCII"
    return "" if text else "its value is empty"


def basic(user: str, password: str) -> Secret:
    """Return the Authorization header of a user and a password."""
    return Secret(f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}")


def without_secrets(text: str, headers: Mapping[str, str | Secret]) -> str:
    """Return a text of a server, with the secrets masked that were sent to it in `headers`.

    Headers that every request has hold none. A short secret is masked where it stands alone.
    """
    for name, value in headers.items():
        if name.lower() not in PLAIN_HEADERS:
            for word in sorted(_secret_words(Secret(value).reveal()), key=len, reverse=True):
                bound = "" if len(word) > SHORT_SECRET else r"\b"
                text = re.sub(f"{bound}{re.escape(word)}{bound}", MASK, text)
    return text


def _secret_words(value: str) -> set[str]:
    """Return a header's value, and what of it may be shown alone."""
    kind, _, rest = value.partition(" ")
    words = {value, rest}
    if kind.lower() == "basic":
        with suppress(ValueError):
            pair = b64decode(rest).decode()
            words |= {pair, pair.partition(":")[2]}
    return words - {""}


def _split(text: str) -> SplitResult:
    shown, host_is_name = masked_address(text), False
    parts: SplitResult | None = None
    with suppress(ValueError):  # its text would show a part of the address
        parts = urlsplit(text)
        # A host that is no domain name would fail only later, in the resolver.
        has_host = bool((parts.hostname or "").encode("idna")) and (parts.port or 0) >= 0
        host_is_name = True
    if parts is None or not host_is_name:
        raise BackendUrlInvalid(shown, "its host or port cannot be read")
    if not text.isprintable() or " " in text:
        raise BackendUrlInvalid(shown, "it has a space or an unprintable character")
    if parts.scheme not in DEFAULT_PORTS:
        raise BackendUrlInvalid(shown, f"the scheme is {parts.scheme!r}, not http or https")
    if not has_host:
        raise BackendUrlInvalid(shown, "there is no host")
    if parts.query or parts.fragment:
        raise BackendUrlInvalid(shown, "it has a query or a fragment")
    return parts


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    is_default = parts.port in (None, DEFAULT_PORTS[parts.scheme])
    return host if is_default else f"{host}:{parts.port}"


def _authorization(parts: SplitResult) -> dict[str, Secret]:
    if parts.username is None:
        return {}
    return {"Authorization": basic(unquote(parts.username), unquote(parts.password or ""))}
