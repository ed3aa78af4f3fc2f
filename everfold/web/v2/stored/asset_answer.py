"""A stored file as the Comfy API v2 shows it."""

from __future__ import annotations

from blake3 import blake3
from msgspec import UNSET

from everfold.projector.job.job import Job
from everfold.streams.assets.asset import HASH_PREFIX, Asset
from everfold.web.v2.output_ids import id_of
from everfold.web.v2.outputs import content_url
from everfold.web.v2.shapes import AssetAnswer, moment
from everfold.web.v2.values import Value

URL_KEPT_MS = 24 * 3600 * 1000
"""How long a url is said to count; it counts as long as its asset is kept."""


def asset_answer(
    asset: Asset, base: str, now_ms: int, *, is_new: bool | None = None
) -> AssetAnswer:
    """Return an asset; `is_new` says whether the request has made it."""
    until_ms = now_ms + URL_KEPT_MS
    if asset.expires_ms:
        until_ms = min(until_ms, asset.expires_ms)
    return AssetAnswer(
        id=asset.id,
        hash=asset.hash,
        size_bytes=asset.size_bytes,
        content_type=asset.media_type,
        file_path=asset.name,
        created_at=moment(asset.created_ms),
        url=content_url(base, asset.id),
        url_expires_at=moment(until_ms),
        expires_at=moment(asset.expires_ms) if asset.expires_ms else None,
        created_new=UNSET if is_new is None else is_new,
        job_id=asset.job_id or UNSET,
    )


def value_answer(job: Job, value: Value, base: str, now_ms: int) -> AssetAnswer:
    """Return a text or a table of a job as if it were a file."""
    known_as = id_of(value.place)
    return AssetAnswer(
        id=known_as,
        hash=HASH_PREFIX + blake3(value.content).hexdigest(),
        size_bytes=len(value.content),
        content_type=value.media_type,
        file_path=value.name,
        created_at=moment(job.updated_at_ms),
        url=content_url(base, known_as),
        url_expires_at=moment(now_ms + URL_KEPT_MS),
        expires_at=None,
        job_id=job.job_id,
    )
