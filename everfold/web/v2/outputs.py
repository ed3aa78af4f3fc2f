"""The outputs of a job, as the Comfy API v2 names them.

Rule: what was stored has the id of its asset; what was not is listed all the same, and says
why. A file that may still be stored is no output yet.
"""

from __future__ import annotations

import mimetypes
from datetime import datetime
from urllib.parse import quote

from blake3 import blake3
from msgspec import UNSET

from everfold.assets.job_files import JobFile, job_files
from everfold.projector.job.job import Job
from everfold.streams.assets.asset import HASH_PREFIX, safe_name
from everfold.web.v2.output_ids import Place, id_of
from everfold.web.v2.shapes import Output, OutputType
from everfold.web.v2.values import Value, values_of

UNKNOWN_TYPE = "application/octet-stream"

TYPES: dict[str, OutputType] = {
    "image": "image", "video": "video", "audio": "audio", "text": "text"
}  # fmt: skip
"""What the first part of a media type is called."""


def outputs_of(job: Job, base: str, until: datetime) -> list[Output]:
    """Return what a job has made so far; `base` is the address of the API, `until` of the urls."""
    files = [_of_file(job, file, base, until) for file in job_files(job) if file.why != "open"]
    return [*files, *(_of_value(job, value, base, until) for value in values_of(job))]


def content_url(base: str, asset_id: str) -> str:
    """Return the address of an asset's bytes."""
    return f"{base}/assets/{quote(asset_id, safe='')}/content"


def _of_file(job: Job, file: JobFile, base: str, until: datetime) -> Output:
    media_type = file.media_type or mimetypes.guess_type(file.filename)[0] or UNKNOWN_TYPE
    known_as = file.asset or id_of(Place(job.job_id, file.node, file.kind, file.index))
    return Output(
        node_id=file.node,
        name=safe_name(file.filename),
        type=_type_of(media_type, file.kind),
        content_type=media_type,
        size_bytes=file.size_bytes,
        id=known_as,
        hash=file.hash or None,
        url=content_url(base, known_as),
        url_expires_at=until,
        job_id=job.job_id,
        why=file.why or UNSET,
    )


def _type_of(media_type: str, kind: str) -> OutputType:
    if kind == "latents":
        return "latent"
    return TYPES.get(media_type.partition("/")[0], "file")


def _of_value(job: Job, value: Value, base: str, until: datetime) -> Output:
    known_as = id_of(value.place)
    return Output(
        node_id=value.place.node,
        name=value.name,
        type="text",
        content_type=value.media_type,
        size_bytes=len(value.content),
        id=known_as,
        hash=HASH_PREFIX + blake3(value.content).hexdigest(),
        url=content_url(base, known_as),
        url_expires_at=until,
        job_id=job.job_id,
    )
