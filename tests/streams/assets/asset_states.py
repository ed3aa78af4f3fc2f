"""For each script that knows assets the states in which it does all that it can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from everfold.streams.appending.log import Log
from everfold.streams.assets import asset_scripts
from everfold.streams.assets.asset_scripts import Only
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

State = Callable[[Log], Awaitable[object]]

HASH = "blake3:" + "1" * 64


async def put(log: Log, *, kept_ms: int = 60_000, asset: str = "a") -> object:
    return await asset_scripts.put_asset(
        log.redis,
        log.keys.assets(0),
        asset=asset,
        content_hash=HASH,
        size_bytes=5,
        owner="ada",
        record=b"{}",
        quota_bytes=1_000,
        kept_ms=kept_ms,
        is_unconfirmed=True,
    )


async def put_what_was_doomed(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.assets(0).doomed(), HASH, 5)
    await put(log, asset="b")
    await command(log.redis, "HSET", log.keys.assets(0).doomed(), HASH, 5)
    return await put(log)


async def put_for_longer(log: Log) -> object:
    await put(log, kept_ms=1_000)
    return await put(log)


async def put_for_ever(log: Log) -> object:
    await put(log)
    return await put(log, kept_ms=0)


async def extend(log: Log) -> object:
    await put(log, kept_ms=1_000)
    return await asset_scripts.extend_asset(log.redis, log.keys.assets(0), "a", 60_000)


async def extend_for_ever(log: Log) -> object:
    await put(log)
    return await asset_scripts.extend_asset(log.redis, log.keys.assets(0), "a", 0)


async def _remove(log: Log, only: Only) -> bool:
    return await asset_scripts.remove_asset(
        log.redis,
        log.keys.assets(0),
        asset="a",
        content_hash=HASH,
        size_bytes=5,
        owner="ada",
        only=only,
    )


async def remove(log: Log) -> object:
    await put(log)
    return await _remove(log, "any")


async def remove_one_of_two(log: Log) -> object:
    await put(log)
    await put(log, asset="b")
    return await _remove(log, "unconfirmed")


async def doom(log: Log) -> object:
    return await asset_scripts.doom_blob(log.redis, log.keys.assets(0), HASH, 1_000)


async def doom_again(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.assets(0).doomed(), HASH, 5)
    return await doom(log)


async def forget_graph(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.graph_assets(0), "s", "x")
    return await asset_scripts.forget_graph_assets(log.redis, log.keys, 0, "s", b"x")


async def forget_stored_graph(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.graph_assets(0), "s", "x")
    await command(log.redis, "SET", log.keys.workflow(0, "s"), "{}")
    touched = (log.keys.workflow(0, "s"), log.keys.workflows(0), log.keys.graph_assets(0))
    return await Script("everfold.streams", "forget_graph").run(log.redis, touched, ("s",))


async def _name(log: Log, *, overwrite: bool = False, most: int = 9) -> object:
    return await asset_scripts.name_upload(
        log.redis,
        log.keys.assets(0),
        owner="ada",
        stem="cat",
        ending=".png",
        asset="a",
        content_hash=HASH,
        overwrite=overwrite,
        kept_ms=60_000,
        most=most,
        tries=3,
    )


async def name(log: Log) -> object:
    return await _name(log)


async def name_beside_another(log: Log) -> object:
    await put(log, asset="b")
    await command(log.redis, "HSET", log.keys.assets(0).names("ada"), "cat.png", "b blake3:2")
    return await _name(log)


async def name_over_another(log: Log) -> object:
    await put(log, asset="b")
    await command(log.redis, "HSET", log.keys.assets(0).names("ada"), "cat.png", "b blake3:2")
    return await _name(log, overwrite=True)


async def name_one_too_many(log: Log) -> object:
    return await _name(log, most=0)


STATES: dict[str, tuple[State, ...]] = {
    "put_asset": (put, put_what_was_doomed, put_for_longer, put_for_ever),
    "extend_asset": (extend, extend_for_ever),
    "name_upload": (name, name_beside_another, name_over_another, name_one_too_many),
    "remove_asset": (remove, remove_one_of_two),
    "doom_blob": (doom, doom_again),
    "forget_graph_assets": (forget_graph,),
    "forget_graph": (forget_stored_graph,),
}
"""Script -> its states."""
