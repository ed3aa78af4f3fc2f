"""The names by which ComfyUI's clients know what an owner has uploaded.

Rule: a name means one upload of one owner; equal names of different bytes are told apart as ComfyUI
does. A name of an asset that is gone is free again, and names are forgotten KEPT_S after the last
upload. Names are keys of a hash and never paths.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from everfold.streams.assets import asset_scripts
from everfold.streams.assets.asset import Asset, check_asset_id, check_hash
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.errors import InvalidName, TooLarge
from everfold.streams.redis.pages import read_large_hash
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.retry import with_retry

INPUT = "input"
KEPT_S = 30 * 86_400
NAMES_LIMIT = 10_000
"""Names of one owner."""
TRIES = 1_000
"""Numbers that are tried for equal names."""
NAME_LIMIT = 400
"""Characters of a name with its folder."""


class Named(Struct, frozen=True):
    """The upload that a name means."""

    asset: str
    hash: str


def read_named(text: bytes) -> Named:
    """Read a value of the hash of names. Raises ValueError for anything else."""
    try:
        asset, _, content_hash = text.decode().partition(" ")
        return Named(check_asset_id(asset), check_hash(content_hash))
    except InvalidName as error:
        raise ValueError(str(error)) from error


def upload_key(name: str, kind: str = INPUT) -> str:
    """Return a name with its folder, as it is kept. `kind` is ComfyUI's input, output or temp.

    Raises InvalidName for one that would lead out of a folder, or is no name.
    """
    parts = name.replace("\\", "/").split("/")
    is_text = all(unicodedata.category(letter)[0] != "C" for letter in name)
    is_path = all(part.strip() not in ("", ".", "..") for part in parts)
    if not is_text or not is_path or ":" in parts[0] or len(name) > NAME_LIMIT:
        raise InvalidName("name of the file", name, "it is no plain name, with a folder or without")
    return ("" if kind == INPUT else f"{kind}:") + "/".join(parts)


async def name_upload(
    store: AssetStore, asset: Asset, name: str, *, kind: str = INPUT, overwrite: bool = False
) -> str:
    """Name an asset of its owner; return the name, with a number where that was taken.

    Raises InvalidName, TooLarge for more than NAMES_LIMIT names, a leaf of Unavailable.
    """
    folder, slash, file = upload_key(name, kind).rpartition("/")
    stem, dot, ending = file.rpartition(".")
    if not stem:
        stem, dot, ending = file, "", ""
    named = await with_retry(
        lambda: asset_scripts.name_upload(
            store.log.redis,
            store.keys_of_owner(asset.owner),
            owner=asset.owner,
            stem=f"{folder}{slash}{stem}",
            ending=f"{dot}{ending}",
            asset=asset.id,
            content_hash=asset.hash,
            overwrite=overwrite,
            kept_ms=KEPT_S * 1000,
            most=NAMES_LIMIT,
            tries=TRIES,
        ),
        store.log.retry_for_s,
    )
    if named is None:
        raise TooLarge("the list of uploads", NAMES_LIMIT, NAMES_LIMIT, "names")
    return named.decode().removeprefix(f"{kind}:")


async def find_named(store: AssetStore, owner: str, names: Sequence[str]) -> dict[str, Named]:
    """Return key -> upload, for those keys of names that the owner has.

    Raises a leaf of Unavailable.
    """
    if not names:
        return {}
    key = store.keys_of_owner(owner).names(owner)
    found = cast("list[bytes | None]", await command(store.log.redis, "HMGET", key, *names))
    pairs = zip(names, found, strict=True)
    return {name: read_named(text) for name, text in pairs if text and _is_readable(text)}


def _is_readable(text: bytes) -> bool:
    try:
        return bool(read_named(text))
    except ValueError:
        return False


async def all_names(store: AssetStore, owner: str) -> list[str]:
    """Return the names of an owner's inputs that are still kept, in order.

    Those of uploads that are gone are forgotten. Raises a leaf of Unavailable.
    """
    keys = store.keys_of_owner(owner)
    stored = await read_large_hash(store.log.redis, keys.names(owner))
    found = {name.decode(): text for name, text in stored.items() if _is_readable(text)}
    names = list(found)
    asked = [("HEXISTS", keys.records(), read_named(found[name]).asset) for name in names]
    are_there = await commands(store.log.redis, asked)
    gone = [name for name, is_there in zip(names, are_there, strict=True) if not is_there]
    if gone:
        await command(store.log.redis, "HDEL", keys.names(owner), *gone)
    return sorted(name for name in set(names) - set(gone) if ":" not in name.split("/")[0])


async def forget_names(store: AssetStore, owner: str) -> None:
    """Forget all names of an owner. Raises a leaf of Unavailable."""
    await command(store.log.redis, "PEXPIRE", store.keys_of_owner(owner).names(owner), 0)
