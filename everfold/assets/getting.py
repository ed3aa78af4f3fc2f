"""Reads and saves the files that jobs have made.

Rule: a server's outputs may name any asset. Bytes are given out only where the asset's own record
says that it belongs to the job's user, and has the hash that the outputs name.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from everfold.assets.job_files import JobFile, job_files, not_stored
from everfold.assets.saving import checked_bytes, is_saved, save_asset
from everfold.projector.job.job import Job
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.border.plain import Plain
from everfold.streams.border.values import shown
from everfold.streams.errors import (
    AssetUnknown,
    CorruptLog,
    InvalidName,
    Misconfigured,
    Unknown,
)
from everfold.streams.events.checks import check_text
from everfold.streams.events.ranges import check_number

PATH_LIMIT = 4_096
"""Characters of a file's name, or of a node's id."""


class OpenOutput:
    """A stored file of a job, to be read once: iterate over it, or `await read()`."""

    def __init__(self, file: JobFile, asset: Asset, chunks: AsyncIterator[bytes]) -> None:
        self.file = file
        self.asset = asset
        """Its record: name, media type, size, hash, expiry. Of the thumbnail, if it was asked."""
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def read(self) -> bytes:
        """Return all of it."""
        return b"".join([chunk async for chunk in self._chunks])


Part = tuple[int, int | None]
"""Where reading begins and, without it, ends."""

WHOLE: Part = (0, None)

Outcome = Literal["saved", "there", "in_the_way", "not_stored", "not_had"]


class SavedFile(Plain, Struct, frozen=True, kw_only=True):
    """What became of one file of a job."""

    file: JobFile
    outcome: Outcome
    """Written now; there before with the same bytes; another file has this name; never stored; or
    the store does not give it."""
    path: str = ""
    """Where it is; empty for the last three."""
    problem: str = ""
    """A sentence for the last three."""

    @property
    def is_there(self) -> bool:
        return self.outcome in ("saved", "there")


@contextlib.asynccontextmanager
async def opened_output(
    assets: AssetStore, job: Job, file: JobFile, part: Part, *, thumbnail: bool
) -> AsyncIterator[OpenOutput]:
    """Open a file of a job, as `Everfold.open_output` does."""
    asset = await asset_of(assets, job, file, thumbnail=thumbnail)
    if part == WHOLE:
        async with contextlib.aclosing(checked_bytes(assets, asset.hash)) as whole:
            yield OpenOutput(file, asset, whole)
    else:
        async with assets.open(asset.hash, *part) as chunks:
            yield OpenOutput(file, asset, chunks)


async def each_saved(
    assets: AssetStore, job: Job, folder: str | Path, *, thumbnails: bool = False
) -> AsyncGenerator[SavedFile, None]:
    """Yield what became of each file of a job, as `Everfold.save_outputs` saves it."""
    check_flag("thumbnails", thumbnails)
    place = _folder(folder)
    for file in job_files(job):
        yield await _saved(assets, job, file, place)
        if thumbnails and file.thumbnail is not None:
            yield await _saved(assets, job, file, place, thumbnail=True)


def check_choice_of_file(file: object, node: object, index: object) -> None:
    """Raise InvalidName for what cannot name a file."""
    for what, value in (("file", file), ("node", node)):
        if value is not None:
            check_text(what, value, least=1, most=PATH_LIMIT)
    if index is not None:
        check_number("index", index)


def check_part(start: int, end: int | None) -> Part:
    """Return where reading begins and ends. Raises InvalidName."""
    check_number("start", start)
    if end is not None:
        check_number("end", end)
        if end < start:
            raise InvalidName("end", end, f"it must not be before start, which is {start}")
    return start, end


def check_flag(what: str, value: object) -> None:
    """Raise InvalidName unless a value is True or False."""
    if not isinstance(value, bool):
        raise InvalidName(what, value, "use True or False")


def _folder(given: object) -> Path:
    if not isinstance(given, str | Path) or not str(given):
        raise InvalidName("folder", given, "it must be the path of a folder")
    try:
        folder = Path(given).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Misconfigured(f"the folder {shown(str(given))} cannot be made: {why}") from error
    return folder


async def _saved(
    assets: AssetStore, job: Job, file: JobFile, folder: Path, *, thumbnail: bool = False
) -> SavedFile:
    try:
        asset = await asset_of(assets, job, file, thumbnail=thumbnail)
        path = folder / (f"{file.name}.thumbnail.webp" if thumbnail else file.name)
        if await is_saved(path, asset.hash):
            return SavedFile(file=file, outcome="there", path=str(path))
        if await save_asset(assets, asset.hash, path, overwrite=False):
            return SavedFile(file=file, outcome="saved", path=str(path))
    except (Unknown, CorruptLog) as problem:
        outcome: Outcome = "not_had" if file.is_stored else "not_stored"
        return SavedFile(file=file, outcome=outcome, problem=str(problem))
    why = f"{path} is there with other bytes, and stays as it is"
    return SavedFile(file=file, outcome="in_the_way", problem=why)


async def asset_of(
    assets: AssetStore, job: Job, file: JobFile, *, thumbnail: bool = False
) -> Asset:
    """Return the record of a file. Raises OutputNotStored, AssetUnknown."""
    named = file.thumbnail if thumbnail else file
    if named is None or not file.is_stored:
        raise not_stored(job.job_id, file, thumbnail=thumbnail)
    asset = await assets.get(named.asset)
    if asset.hash != named.hash or asset.owner != job.user:
        raise AssetUnknown(named.asset)
    return asset
