"""Reads what a server says of itself, and warns once of what loses jobs."""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from everfold.health.server_finding import ServerFinding
from everfold.health.server_findings import ServerFacts, server_findings
from everfold.streams.border.logger import get_logger
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.access import may_send
from everfold.streams.redis.namespace import asking_the_server
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_info

logger = get_logger("everfold.server")

SECTIONS = ("memory", "persistence", "replication")
SETTINGS = ("save", "min-replicas-to-write", "min-replicas-max-lag", "appendfsync")

_told = set[tuple[str, str]]()
"""Server and finding of which this process has warned."""


async def server_facts(redis: Redis, *, with_settings: bool = True) -> ServerFacts:
    """Ask a server; what it refuses is empty. Raises a leaf of Unavailable."""
    info = await server_info(redis, *SECTIONS)
    return ServerFacts(info=info, settings=await _settings(redis) if with_settings else {})


async def _settings(redis: Redis) -> dict[str, str]:
    try:
        if not await may_send(redis, "CONFIG", "GET", *SETTINGS):
            return {}  # managed servers and most users may not ask
        flat = cast("list[bytes]", await command(redis, "CONFIG GET", *SETTINGS))
        texts = [part.decode(errors="replace") for part in flat]
    except (EverfoldError, AttributeError, TypeError):
        return {}
    return dict(zip(texts[::2], texts[1::2], strict=False))


async def warn_of_losses(redis: LedgerRedis, url: SecretUrl, replicas: int = 0) -> None:
    """Log a warning of each finding that loses jobs, or stops writes that wait for `replicas`.

    Once in this process for each server; raises nothing. CONFIG is not asked: the least rights do
    not have it, and a refusal is noted by the server.
    """
    for primary in redis.primaries():
        try:
            with asking_the_server():
                facts = await server_facts(primary, with_settings=False)
        except EverfoldError:
            continue  # the call that comes next says it
        for one in server_findings(facts, replicas):
            _tell(f"{url} {primary.name}", one)


def _tell(server: str, one: ServerFinding) -> None:
    if not (one.loses or one.stops) or (server, one.what) in _told:
        return
    _told.add((server, one.what))
    told = (one.what, one.found, one.advice)
    if one.loses:
        logger.warning("server_may_lose_jobs what=%r found=%r advice=%r", *told)
    else:
        logger.warning("server_may_stop_writes what=%r found=%r advice=%r", *told)
