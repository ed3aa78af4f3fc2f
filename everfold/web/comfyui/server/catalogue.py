"""What the servers of a namespace have, as one gateway knows it.

Rule: put together once for the same servers, however often it is asked for. While Redis or every
server is away, what was known last counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256

import anyio.to_thread
import msgspec
from msgspec import Struct

from everfold.runner.capabilities.capability_store import stored_description
from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.backends import BackendEntry, backend_entries, retired_backends
from everfold.streams.leases.registry import silence_s
from everfold.streams.redis.server import server_time_ms
from everfold.submit_check import AWAY_S
from everfold.web.comfyui.server.union import Union, union_of

READ_EVERY_S = 5.0
READ_AGAIN_S = 0.5
"""How soon while no server is known."""
SERVERS_LIMIT = 64
"""Unlike servers whose classes are put together: more do not differ in a way that people follow."""


class Known(Struct, frozen=True):
    """What the servers have together."""

    hash: str
    """Of all of it."""
    union: Union
    plain: bytes
    """All classes that take no uploads, as the inside of a JSON object."""
    servers: tuple[BackendEntry, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any server."""
        return not self.union.encoded


NOTHING = Known("", Union({}, {}, frozenset()), b"", ())


class Catalogue:
    """What one gateway knows of the servers."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known = NOTHING
        self._bodies: dict[str, bytes] = {}
        self._read_at_s = -READ_EVERY_S
        self._one = asyncio.Lock()

    async def known(self) -> Known:
        """Return what is known, a few seconds old at most while Redis answers."""
        async with self._one:
            every_s = READ_AGAIN_S if self._known.is_empty else READ_EVERY_S
            if steady_s() - self._read_at_s >= every_s:
                with contextlib.suppress(EverfoldError):
                    await self._read()
                self._read_at_s = steady_s()
        return self._known

    async def output_classes(self) -> frozenset[str] | None:
        """Return the classes of output nodes; None while no server is known."""
        known = await self.known()
        return None if known.is_empty else known.union.output_classes

    async def _read(self) -> None:
        servers = await self._servers()
        hashes = sorted({one.described for one in servers} - {""})[:SERVERS_LIMIT]
        bodies = dict[str, bytes]()
        for one in hashes:
            body = self._bodies.get(one) or await stored_description(self._log, one)
            if body is not None:
                bodies[one] = body
        whole = sha256("\n".join(bodies).encode()).hexdigest()
        if not bodies and self._bodies:
            return  # all are away: what they had is shown
        if whole != self._known.hash:
            self._known = await anyio.to_thread.run_sync(_put_together, whole, bodies, servers)
        else:
            known = self._known
            self._known = Known(known.hash, known.union, known.plain, servers)
        self._bodies = bodies

    async def _servers(self) -> tuple[BackendEntry, ...]:
        """Return the servers that are in service and were seen lately; all, where none was."""
        entries, retired = await backend_entries(self._log), await retired_backends(self._log)
        now_ms = await server_time_ms(self._log.redis)
        serving = [
            entry
            for entry in entries
            if entry.is_configured and not {entry.name, entry.server} & retired.keys()
        ]
        lately = [entry for entry in serving if silence_s(entry.seen_ms, now_ms) <= AWAY_S]
        return tuple(sorted(lately or serving, key=lambda one: (one.title, one.name)))


def _put_together(
    content_hash: str, bodies: dict[str, bytes], servers: tuple[BackendEntry, ...]
) -> Known:
    union = union_of(list(bodies.values()))
    plain = b",".join(
        member_of(name, text) for name, text in union.encoded.items() if name not in union.uploads
    )
    return Known(content_hash, union, plain, servers)


def member_of(name: str, text: bytes) -> bytes:
    """Return one member of a JSON object."""
    return msgspec.json.encode(name) + b":" + text
