"""Connections to the Redis or Valkey server.

Rule: commands never retry by themselves (see redis_errors.py), and a blocking read has a connection
of its own whose socket time-out is longer than the block; both traps of redis-py 8 were reproduced.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from everfold.streams.border.logger import get_logger
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.connections.connection import patient
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.connections.tls_errors import why_not_usable
from everfold.streams.errors import NoServer, ServerError, ServerRefusesAccess, ServerTooOld
from everfold.streams.redis.redis_errors import command

logger = get_logger("everfold.server")

COMMAND_TIMEOUT_S = 5.0
"""Longest silence while an answer is awaited, and longest wait for a connection."""

CONNECTION_LIMIT = 32
"""Connections of one client. Everfold itself needs few: see WRITERS in pipelining.py."""

Client = TypeVar("Client", bound=Redis)

BLOCK_S = 5.0
"""Seconds that a blocking read waits on the server before it asks again."""

EVICTION_ADVICE = (
    "at its maxmemory the server evicts open jobs, which are lost: set maxmemory-policy noeviction"
)

NEEDED_COMMANDS = ("XAUTOCLAIM", "EXPIRETIME")
"""XAUTOCLAIM came with Redis 6.2, EXPIRETIME with 7.0: probed, for Valkey always says 7.2.4."""


def connect(
    url: str | SecretUrl, *, name: str = "everfold", timeout_s: float = COMMAND_TIMEOUT_S
) -> PipeliningRedis:
    """Return a client for `url` (redis://, rediss:// or unix://); it connects when it is used.

    `name` is what CLIENT LIST shows. `timeout_s` is for a connection, and for the silence before an
    answer. Close it with `aclose`. Raises NoServer for a URL that is none.
    """
    return _raw(PipeliningRedis(_pool(url, name, timeout_s, None), timeout_s))


def connect_blocking(
    url: str | SecretUrl, *, name: str = "everfold", block_s: float = BLOCK_S
) -> Redis:
    """Return a client for one reader that blocks up to `block_s` on the server.

    As `connect`; the silence that it bears is `block_s` longer.
    """
    timeout_s = block_s + COMMAND_TIMEOUT_S
    return _raw(Redis.from_pool(_pool(url, name, timeout_s, timeout_s)))


def _pool(
    url: object, name: str, connect_timeout_s: float, timeout_s: float | None
) -> BlockingConnectionPool:
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


def connection_arguments(url: str | SecretUrl) -> dict[str, object]:
    """Return what `url` says about a connection, by the names of redis-py. Raises NoServer."""
    return dict(_pool(url, "everfold", COMMAND_TIMEOUT_S, None).connection_kwargs)


def _raw(client: Client) -> Client:
    """Leave replies as the server sent them: redis-py's parsers guess from options that raw
    commands and scripts do not have."""
    client.response_callbacks.clear()
    return client


async def check_server(redis: Redis) -> None:
    """Raise ServerTooOld unless the server has every command that Everfold needs.

    Raises a leaf of Unavailable or ServerRefusesAccess when it cannot be asked.
    """
    try:
        found = await command(redis, "COMMAND INFO", *NEEDED_COMMANDS)
    except (ServerRefusesAccess, ServerError):
        return  # COMMAND is not everybody's; a wrong password shows at the next command
    known = {row[0].decode().upper() for row in cast("list[list[bytes]]", found) if row}
    missing = [name for name in NEEDED_COMMANDS if name not in known]
    if missing:
        raise ServerTooOld(await server_version(redis), f"it has no {' and no '.join(missing)}")


async def server_info(redis: Redis, *sections: str) -> dict[str, str]:
    """Return sections of INFO, name -> value as text; empty where the server refuses INFO.

    Raises a leaf of Unavailable.
    """
    try:
        text = cast("bytes", await command(redis, "INFO", *sections)).decode(errors="replace")
    except (ServerRefusesAccess, ServerError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


async def warn_of_eviction(redis: Redis) -> None:
    """Log a warning where the server may evict keys that Everfold needs. Raises as `server_info`.

    volatile-* policies evict what has a time to live: states, which are folded anew, and graphs of
    jobs that are over. allkeys-* policies evict open jobs.
    """
    policy = (await server_info(redis, "memory")).get("maxmemory_policy", "")
    if loses_jobs(policy):
        logger.warning("eviction_policy policy=%s why=%r", policy, EVICTION_ADVICE)


def loses_jobs(policy: str) -> bool:
    """Say whether a `maxmemory-policy` evicts keys that have no time to live."""
    return policy.startswith("allkeys")


async def server_time_ms(redis: Redis) -> int:
    """Return the server's clock in Unix milliseconds. Raises a leaf of Unavailable."""
    seconds, micros = cast("list[bytes]", await command(redis, "TIME"))
    return int(seconds) * 1000 + int(micros) // 1000


async def server_version(redis: Redis) -> str:
    """Return name and version as people know them, such as `Valkey 9.1.2`. Valkey says of itself
    that it is Redis 7.2.4, so its own field comes first."""
    found = await server_info(redis, "server")
    if "valkey_version" in found:
        return f"Valkey {found['valkey_version']}"
    if not found:
        return "a server that does not say its version (INFO is refused)"
    return f"Redis {found.get('redis_version', 'of unknown version')}"
