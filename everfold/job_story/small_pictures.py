"""The pictures of a job, small enough to stand inside a page.

Rule: a picture that cannot be had is told in words; it never keeps the story from being told.
"""

from __future__ import annotations

import base64

from msgspec import Struct

from everfold.assets.getting import WHOLE, opened_output
from everfold.assets.job_files import SENTENCES, JobFile, job_files
from everfold.assets.sizes import size_text
from everfold.projector.job.job import Job
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.errors import EverfoldError

PICTURES_LIMIT = 24
PICTURE_BYTES = 512 * 1024
"""A picture without a thumbnail stands in the page itself up to this size."""
ALL_BYTES = 4 * 1024 * 1024
SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""What a browser draws without running anything."""


class SmallPicture(Struct, frozen=True):
    """A file of a job, with its picture where there is one."""

    name: str
    told: str
    """What it is, or why it is not shown."""
    media_type: str = ""
    content: bytes = b""

    @property
    def address(self) -> str:
        """The picture as a data URL, empty where there is none."""
        if not self.content:
            return ""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


async def small_pictures(assets: AssetStore, job: Job) -> list[SmallPicture]:
    """Return the first files of a job; of pictures their thumbnails, or they themselves."""
    found, room = list[SmallPicture](), ALL_BYTES
    for file in job_files(job)[:PICTURES_LIMIT]:
        one = await _small_picture(assets, job, file, room)
        room -= len(one.content)
        found.append(one)
    return found


async def _small_picture(assets: AssetStore, job: Job, file: JobFile, room: int) -> SmallPicture:
    if not file.is_stored:
        return SmallPicture(file.filename, SENTENCES.get(file.why, file.why))
    is_small = file.thumbnail is not None
    told = " · ".join(
        part
        for part in (
            file.media_type,
            f"{file.width} x {file.height}" if file.width else "",
            size_text(file.size_bytes),
        )
        if part
    )
    try:
        async with opened_output(assets, job, file, WHOLE, thumbnail=is_small) as output:
            asset = output.asset
            if asset.media_type not in SHOWN or asset.size_bytes > min(room, PICTURE_BYTES):
                return SmallPicture(file.filename, told)
            content = await output.read()
    except EverfoldError as error:
        return SmallPicture(file.filename, f"{told}; it cannot be had: {error}")
    return SmallPicture(file.filename, told, asset.media_type, content)
