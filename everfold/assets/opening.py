"""Opens the place where the bytes of assets are: the given one, else the usual one."""

from __future__ import annotations

import os
from pathlib import Path

from everfold.buckets.access import check_bucket
from everfold.embedded.data_folder import default_data_folder
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import BlobStore
from everfold.streams.border.addresses import masked_address
from everfold.streams.errors import Misconfigured

VARIABLE = "EVERFOLD_ASSETS"

FOLDER = "assets"
"""In the data folder."""


def place_text(place: str | Path | None) -> str:
    """Return a place, for None what EVERFOLD_ASSETS names, else `assets` in the data folder."""
    return str(place or os.environ.get(VARIABLE) or default_data_folder(os.environ) / FOLDER)


def open_blobs(place: str | Path | None = None) -> BlobStore:
    """Open a folder (a path or file://...) or a bucket (s3://bucket/prefix).

    None is what EVERFOLD_ASSETS names, else the folder `assets` in the data folder. Nothing is
    read, made or contacted yet. Raises Misconfigured for any other address, and for a bucket
    without the extra `assets` or without credentials.
    """
    text = place_text(place)
    scheme, separator, rest = text.partition("://")
    if not separator or (scheme == "file" and rest.startswith(("/", "~"))):
        return _folder(rest if separator else text)
    if scheme == "s3":
        return _bucket(text)
    raise Misconfigured(
        f"{masked_address(text)!r} is no place for assets: write a folder's path, or "
        "s3://bucket/prefix"
    )


def _bucket(url: str) -> BlobStore:
    check_bucket(url)
    try:
        from everfold.assets.blob_bucket import BlobBucket
    except ImportError as error:
        why = "needs the package obstore: pip install 'everfold[assets]'"
        raise Misconfigured(f"{url} {why}") from error
    return BlobBucket(url)


def _folder(path: str) -> BlobFolder:
    try:
        if "\0" not in path:
            return BlobFolder(path)
    except RuntimeError as error:  # ~ of a user that nobody knows
        raise Misconfigured(f"the assets' folder {path} is not used: {error}") from error
    raise Misconfigured(f"the assets' folder {path!r} is not used: it has a NUL in its name")
