"""Which stored files the graph of an open job names: their bytes stay as long as the graph does.

Rule: it is said right before the job is made known, so that no sweeper finds the job without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.events.event import AssetInput
from everfold.streams.events.json_text import decoder
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms


class GraphAssets(Struct, frozen=True):
    """What one graph names."""

    at_ms: int
    hashes: list[str]


read_graph_assets = decoder(GraphAssets)


async def note_graph_assets(
    redis: LedgerRedis,
    keys: Keyspace,
    partition: int,
    sha256: str,
    inputs: Mapping[str, AssetInput],
) -> None:
    """Say which files the graph that is stored as `sha256` names. Raises a leaf of Unavailable."""
    hashes = sorted({one.hash for one in inputs.values()})
    said = GraphAssets(await server_time_ms(redis), hashes)
    await command(redis, "HSET", keys.graph_assets(partition), sha256, msgspec.json.encode(said))
