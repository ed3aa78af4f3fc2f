"""Open a namespace: it is made on first use and checked on every later one.

Rule: the number of partitions is fixed when the namespace is made, because it decides where each
job's keys are.
"""

from __future__ import annotations

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.errors import InvalidName, NamespaceTooNew, PartitionMismatch
from everfold.streams.events.checks import check_name
from everfold.streams.events.ids import new_id
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import read_hash
from everfold.streams.redis.scripts import make_namespace
from everfold.streams.redis.server import server_info

SCHEMA_VERSION = 1
DEFAULT_PARTITIONS = 8
PARTITION_LIMIT = 1024


class Namespace(Struct, frozen=True):
    """A namespace as it is stored on the server."""

    keys: Keyspace
    generation: str
    """Changes when the namespace is made anew, as after FLUSHALL."""


async def open_namespace(redis: Redis, name: str, partitions: int | None = None) -> Namespace:
    """Open the namespace, or make it with `partitions` (1 to 1024, default 8) when it is new.

    Of two programs that make it at once, one decides. Raises PartitionMismatch, NamespaceTooNew or
    InvalidName with nothing written; a leaf of Unavailable.
    """
    check_name("namespace", name)
    if partitions is not None and not 1 <= partitions <= PARTITION_LIMIT:
        raise InvalidName("partitions", partitions, f"use 1 to {PARTITION_LIMIT}")
    meta = Keyspace(name, 1).meta()
    stored = await read_hash(redis, meta)
    if b"partitions" not in stored:
        await _make(redis, meta, partitions or DEFAULT_PARTITIONS)
        stored = await read_hash(redis, meta)
    return _checked(name, partitions, stored)


async def _make(redis: Redis, meta: str, partitions: int) -> None:
    run_id = (await server_info(redis, "server")).get("run_id", "")
    await make_namespace(
        redis,
        meta=meta,
        partitions=partitions,
        schema=SCHEMA_VERSION,
        generation=new_id(),
        # Known from the start: a server that comes back with an older file is then noticed.
        run_id=run_id,
    )


def _checked(name: str, asked: int | None, stored: dict[bytes, bytes]) -> Namespace:
    schema, actual = int(stored.get(b"schema", b"1")), int(stored[b"partitions"])
    if schema > SCHEMA_VERSION:
        raise NamespaceTooNew(name, schema, SCHEMA_VERSION)
    if asked is not None and asked != actual:
        raise PartitionMismatch(name, asked, actual)
    return Namespace(Keyspace(name, actual), stored.get(b"generation", b"").decode())
