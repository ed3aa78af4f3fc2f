"""Pools of connections to one server, from a URL.

Rule: commands never retry by themselves (see redis/redis_errors.py), and what is wrong with a URL
is said before anything is sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from everfold.streams.connections.connection import patient
from everfold.streams.connections.tls_errors import why_not_usable
from everfold.streams.nodes.address import not_an_address, parse_address

COMMAND_TIMEOUT_S = 5.0
"""Longest silence while an answer is awaited, and longest wait for a connection."""

CONNECTION_LIMIT = 32
"""Connections of one client. Everfold itself needs few: see WRITERS in pipelining.py."""


def pool_of(
    url: object, name: str, connect_timeout_s: float, timeout_s: float | None
) -> BlockingConnectionPool:
    """Return the connections to `url`; none is opened yet.

    `name` is what CLIENT LIST shows. `timeout_s` is the longest silence, None for as long as the
    caller bears. Raises ServerUrlInvalid for a URL that is none.
    """
    address = parse_address(url)
    if address.kind != "server":
        raise not_an_address(address.own, "here stands one server's")
    pool, why = None, ""
    with suppress(ValueError, TypeError, AttributeError):  # their texts show parts of the address
        pool = BlockingConnectionPool.from_url(
            address.own.reveal(),
            max_connections=CONNECTION_LIMIT,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=connect_timeout_s,
            driver_info=None,  # else each connection sends CLIENT SETINFO
        )
        if issubclass(pool.connection_class, SSLConnection):
            why = _fault(pool.connection_kwargs)
    if pool is None or why:
        raise not_an_address(address.own, why)
    pool.connection_class = patient(pool.connection_class, name)
    return pool


_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def _fault(options: Mapping[str, object]) -> str:
    """Return why the files of TLS cannot be used; "" for nothing."""
    for name in _TLS_FILES:
        if name in options and not os.path.isfile(str(options[name])):
            return f"{name} names no file"
    return why_not_usable(options)
