"""The store of assets that a command works with."""

from __future__ import annotations

from everfold.assets.opening import open_blobs
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore


def opened_store(log: Log, place: str | None) -> AssetStore:
    """Return the store at a place. Raises Misconfigured."""
    return AssetStore(log, open_blobs(place))
