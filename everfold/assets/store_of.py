"""Opens the assets of a namespace at a place that several namespaces may share.

Rule: each namespace has a folder of its own there, because a sweep removes all that the namespace
does not name. A namespace that was made anew has another folder.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from everfold.assets.opening import open_blobs, place_text
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset import OUTPUT_KEEP_S
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_store import BlobStore


def open_assets(
    log: Log, place: str | Path | BlobStore | None = None, *, keep_s: float | None = OUTPUT_KEEP_S
) -> AssetStore:
    """Return the assets of a log's namespace at a place: a folder, or s3://bucket/prefix.

    None is what EVERFOLD_ASSETS names, else `assets` in the data folder. A BlobStore is used as it
    is. Nothing is contacted yet. Raises Misconfigured for a place that cannot be one.
    """
    if not isinstance(place, str | Path | None):
        return AssetStore(log, place, keep_s=keep_s)
    open_blobs(place)  # refused under the name that was given

    def opened() -> BlobStore:
        return open_blobs(f"{place_text(place).rstrip('/')}/{folder_of(log)}")

    return AssetStore(log, opened, keep_s=keep_s)


def folder_of(log: Log) -> str:
    """Return the name of a namespace's folder: it is not told from the namespace's secret."""
    made = sha256(f"assets of {log.generation}".encode()).hexdigest()[:8]
    return f"{log.keys.namespace}-{made}"
