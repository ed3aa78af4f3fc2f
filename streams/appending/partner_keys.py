"""Keys for ComfyUI's partner nodes: kept beside an open job for a while, and nowhere else.

Rule: they are written before their job is known, under a name that only this submit uses, and
deleted by the event that ends the job. No event, state or error has them.
"""

from __future__ import annotations

import msgspec

from everfold.streams.appending.body import PARTNER_KEYS, PartnerKeys
from everfold.streams.border.secrets import Secret
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command

KEPT_S = 24 * 3600.0
"""Seconds that they are kept for a job that no runner has taken; a runner renews them."""

_read = decoder(dict[str, str])


async def write_partner_keys(redis: LedgerRedis, name: str, given: PartnerKeys) -> None:
    """Keep the keys at `name` for KEPT_S seconds. Raises a leaf of Unavailable."""
    content = msgspec.json.encode({name: key.reveal() for name, key in given.items()})
    await command(redis, "SET", name, content, "PX", int(KEPT_S * 1000))


async def read_partner_keys(redis: LedgerRedis, keys: Keyspace, job_id: str) -> dict[str, Secret]:
    """Return an open job's keys, and keep them for KEPT_S seconds from now; {} when they are gone.

    Raises a leaf of Unavailable.
    """
    made_by = await command(redis, "HGET", keys.head(job_id), "made_by")
    if not isinstance(made_by, bytes):
        return {}
    name = keys.partner_keys(job_id, made_by.decode(errors="replace"))
    content = await command(redis, "GET", name)
    await command(redis, "PEXPIRE", name, int(KEPT_S * 1000))
    try:
        found = _read(content) if isinstance(content, bytes) else {}
    except NotJson:
        return {}
    return {name: Secret(key) for name, key in found.items() if name in PARTNER_KEYS}


async def forget_partner_keys(redis: LedgerRedis, name: str) -> None:
    """Delete the keys of a submit that made no job. Raises a leaf of Unavailable."""
    await command(redis, "PEXPIRE", name, 0)
