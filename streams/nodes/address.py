"""The address of a Redis: one server, the primary of a Sentinel service, or a cluster.

Rule: pure. What nobody could connect to is refused with a sentence that repeats nothing of the
address, for what is misspelt may be a part of a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from everfold.streams.border.secrets import Secret, SecretUrl
from everfold.streams.errors import ServerUrlInvalid
from everfold.streams.nodes.endpoint import Endpoint, endpoint

Kind = Literal["server", "sentinel", "cluster"]

FORMS = (
    "write redis://host:6379/0, rediss://host:6379/0, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379"
)

HOSTS_LIMIT = 64
DEFAULT_PORT: dict[Kind, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}

_SENTINEL = ("sentinel_user", "sentinel_password")

_FROM_QUERY = frozenset(
    (
        *("ssl_keyfile", "ssl_certfile", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data"),
        *("ssl_ca_path", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_password"),
        *("ssl_include_verify_flags", "ssl_exclude_verify_flags", "username", "password", "db"),
        *("socket_keepalive", "socket_read_size", "lib_name", "lib_version", *_SENTINEL),
    )
)
"""What may stand behind the `?`; the rest is Everfold's to choose."""

_FORM = re.compile(r"(?P<tls>rediss?)\+(?P<kind>sentinel|cluster)://(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s\[\]:/?#@,]+))(?::(?P<port>\d+))?")


class Address(Struct, frozen=True):
    """What a URL says, apart from what redis-py reads of it itself."""

    kind: Kind
    endpoints: tuple[Endpoint, ...]
    """The server, the sentinels, or some nodes of the cluster; none for a file of a socket."""
    shown: str
    """As people may see it."""
    service: str
    """The name by which the sentinels know the primary."""
    has_tls: bool
    own: SecretUrl
    """As it was given."""
    user: Secret
    """Before the @, still quoted."""
    query: Secret

    def server_url(self, to: Endpoint) -> SecretUrl:
        """Return the URL of one data server, with the database, user and options of this one."""
        if self.kind == "server" and to in self.endpoints:
            return self.own
        options = [pair for pair in _pairs(self.query.reveal()) if pair[0] not in _SENTINEL]
        return self._url(self.user.reveal(), to, options)

    def sentinel_url(self, to: Endpoint) -> SecretUrl:
        """Return the URL of one sentinel, with the user and options that are for sentinels."""
        given = dict(_pairs(self.query.reveal()))
        user, password = (quote(given.get(name, ""), safe="") for name in _SENTINEL)
        options = [pair for pair in given.items() if pair[0].startswith(("ssl_", "socket_"))]
        return self._url(f"{user}:{password}" if password else "", to, options)

    def _url(self, user: str, to: Endpoint, options: list[tuple[str, str]]) -> SecretUrl:
        before, query = f"{user}@" if user else "", urlencode(options, quote_via=quote)
        return SecretUrl(
            f"redis{'s' if self.has_tls else ''}://{before}{to}{f'?{query}' if query else ''}"
        )


def parse_address(url: object) -> Address:
    """Return what a URL says. Raises ServerUrlInvalid where it is none of the forms."""
    secret = SecretUrl(url if isinstance(url, str | SecretUrl) else "")
    try:
        return _parsed(secret)
    except _FaultError as error:
        why = str(error)
    raise not_an_address(secret, why)  # here, so that it has no context that shows a part


def not_an_address(url: SecretUrl, why: str = "") -> ServerUrlInvalid:
    """Return the error for a URL; `why` repeats nothing of it."""
    return ServerUrlInvalid(f"{str(url)!r} is not a Redis URL{why and f' ({why})'}; {FORMS}")


class _FaultError(Exception):
    """Its text says what is wrong."""


def _parsed(secret: SecretUrl) -> Address:
    text = secret.reveal()
    found = _FORM.fullmatch(text)
    if found is None:
        return _one_server(secret)
    kind: Kind = "sentinel" if found["kind"] == "sentinel" else "cluster"
    before, _, query = found["rest"].partition("?")
    authority, _, path = before.partition("/")
    user, _, hosts = authority.rpartition("@")
    if "#" in found["rest"] or "@" in path:
        raise _FaultError("write # / ? and @ in a user or password as %23 %2F %3F and %40")
    pairs = _checked(query, has_tls=found["tls"] == "rediss", kind=kind)
    service, database = _service(path) if kind == "sentinel" else ("", path)
    if kind == "cluster" and (database not in ("", "0") or pairs.get("db", "0") != "0"):
        raise _FaultError("a cluster has the database 0 only")
    options = [(name, value) for name, value in pairs.items() if name != "db" or not database]
    options += [("db", database)] if database else []
    return Address(
        kind=kind,
        endpoints=tuple(_hosts(hosts, DEFAULT_PORT[kind])),
        shown=str(secret),
        service=service,
        has_tls=found["tls"] == "rediss",
        own=secret,
        user=Secret(user),
        query=Secret(urlencode(options, quote_via=quote)),
    )


def _one_server(secret: SecretUrl) -> Address:
    parts, host, port = urlsplit("//"), "", 0
    with suppress(ValueError):
        parts = urlsplit(secret.reveal())
        host, port = parts.hostname or "localhost", parts.port or DEFAULT_PORT["server"]
    if not port:
        raise _FaultError(_unreadable(secret.reveal()))
    pairs = _checked(parts.query, has_tls=parts.scheme == "rediss", kind="server")
    path = parts.path.strip("/")
    if parts.scheme != "unix":
        if "," in parts.netloc.rpartition("@")[2]:
            raise _FaultError("several hosts need redis+sentinel:// or redis+cluster://")
        if path and not _is_number(path):
            raise _FaultError("behind the host stands the number of a database, such as /0")
    is_file = parts.scheme == "unix"
    return Address(
        kind="server",
        endpoints=() if is_file else (Endpoint(unquote(host), port),),
        shown=str(secret),
        service="",
        has_tls=parts.scheme == "rediss",
        own=secret,
        user=Secret(parts.netloc.rpartition("@")[0]),
        query=Secret(urlencode([pair for pair in pairs.items() if pair[0] != "db"])),
    )


def _unreadable(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "," in authority:
        return "several hosts need redis+sentinel:// or redis+cluster://"
    return "its host cannot be read"


def _hosts(text: str, port: int) -> Iterator[Endpoint]:
    each = text.split(",")
    if len(each) > HOSTS_LIMIT:
        raise _FaultError(f"it names more than {HOSTS_LIMIT} hosts")
    for one in each:
        if not (found := _HOST.fullmatch(one.strip())):
            raise _FaultError("one of its hosts cannot be read")
        made = endpoint(found["v6"] or found["name"], found["port"] or port)
        if made is None:
            raise _FaultError("a port is a number from 1 to 65535")
        yield made


def _service(path: str) -> tuple[str, str]:
    """Return the name of a Sentinel service and its database, as they stand behind the hosts."""
    service, slash, database = path.partition("/")
    if not service:
        raise _FaultError("behind the hosts stands the name of the service, such as /mymaster")
    if slash and database and not _is_number(database):
        raise _FaultError("behind the service stands the number of a database, such as /0")
    return unquote(service), database


def _checked(query: str, *, has_tls: bool, kind: Kind) -> dict[str, str]:
    """Return the options; what redis-py would ignore, or only find when it connects, is a fault."""
    found = dict(_pairs(query))
    for name, value in found.items():
        if name not in _FROM_QUERY:
            there = ", ".join(sorted(_FROM_QUERY))
            raise _FaultError(f"one of its options does not exist; there are {there}")
        if name.startswith("ssl_") and not has_tls:
            raise _FaultError(f"{name} needs rediss://, rediss+sentinel:// or rediss+cluster://")
        if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            raise _FaultError("ssl_cert_reqs is none, optional or required")
        if name == "db" and not _is_number(value):
            raise _FaultError("db is a number from 0 on")
        if name in _SENTINEL and kind != "sentinel":
            raise _FaultError(f"{name} is for redis+sentinel:// and rediss+sentinel://")
    _check_sentinel(found)
    return found


def _check_sentinel(found: Mapping[str, str]) -> None:
    user, password = (found.get(name, "") for name in _SENTINEL)
    if user and not password:
        raise _FaultError("sentinel_user needs sentinel_password")


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
