"""Pools of connections to one server, from a URL.

Rule: commands never retry by themselves (see redis/redis_errors.py), and what redis-py would ignore
in a URL is said before anything is sent.
"""

from __future__ import annotations

import os
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from everfold.streams.border.secrets import SecretUrl
from everfold.streams.connections.connection import patient
from everfold.streams.connections.tls_errors import why_not_usable
from everfold.streams.errors import NoServer

COMMAND_TIMEOUT_S = 5.0
"""Longest silence while an answer is awaited, and longest wait for a connection."""

CONNECTION_LIMIT = 32
"""Connections of one client. Everfold itself needs few: see WRITERS in pipelining.py."""


def pool_of(
    url: object, name: str, connect_timeout_s: float, timeout_s: float | None
) -> BlockingConnectionPool:
    """Return the connections to `url`; none is opened yet.

    `name` is what CLIENT LIST shows. `timeout_s` is the longest silence, None for as long as the
    caller bears. Raises NoServer for a URL that is none.
    """
    pool, secret = None, SecretUrl(url if isinstance(url, str | SecretUrl) else "")
    why = _fault(secret.reveal())
    with suppress(ValueError, TypeError, AttributeError):  # their texts show parts of the address
        pool = BlockingConnectionPool.from_url(
            secret.reveal(),
            max_connections=CONNECTION_LIMIT,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=connect_timeout_s,
            driver_info=None,  # else each connection sends CLIENT SETINFO
        )
        if not why and issubclass(pool.connection_class, SSLConnection):
            why = why_not_usable(pool.connection_kwargs)
    if pool is None or why:
        raise NoServer(
            f"{str(secret)!r} is not a Redis URL{why and f' ({why})'}; write redis://host:6379/0, "
            "rediss://host:6379/0 or unix:///path/to/socket"
        )
    pool.connection_class = patient(pool.connection_class, name)
    return pool


_FROM_QUERY = frozenset(
    (
        *("ssl_keyfile", "ssl_certfile", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data"),
        *("ssl_ca_path", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_password"),
        *("ssl_include_verify_flags", "ssl_exclude_verify_flags", "username", "password", "db"),
        *("socket_keepalive", "socket_read_size", "lib_name", "lib_version"),
    )
)
"""What may stand behind the `?` of a URL; the rest is Everfold's to choose."""

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def _fault(url: str) -> str:
    """Return what redis-py would ignore in a URL, or only find when it connects; "" for nothing.

    The sentence repeats nothing of the URL: what is misspelt may be a part of a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its host cannot be read"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _FROM_QUERY:
            return f"one of its options does not exist; there are {', '.join(sorted(_FROM_QUERY))}"
        if name.startswith("ssl_") and parts.scheme != "rediss":
            return f"{name} needs rediss://"
        if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            return "ssl_cert_reqs is none, optional or required"
        if name in _TLS_FILES and not os.path.isfile(value):
            return f"{name} names no file"
        if name == "db" and not value.isdecimal():
            return "db is a number from 0 on"
    path = parts.path.strip("/")
    if parts.scheme != "unix" and path and not (path.isascii() and path.isdecimal()):
        return "behind the host stands the number of a database, such as /0"
    return ""
