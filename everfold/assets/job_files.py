"""The files that a job has made, as its outputs name them.

Rule: pure and total. A server may have written anything into its outputs: a file counts as stored
only with an id and a hash that can be ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.decisions.output_files import named_for, references
from everfold.streams.assets.asset import check_asset_id, check_hash, safe_name
from everfold.streams.border.plain import Plain
from everfold.streams.errors import InvalidName, OutputNotStored, OutputUnknown

SENTENCES = {
    "gone": "its server did not have it any more",
    "unreachable": "its server did not answer",
    "too_large": "it is larger than the runner stores",
    "quota": "the quota of its user was full",
    "store_full": "the store could not take it",
    "missed": "it was sent over the websocket only, and its runner did not receive it",
    "skipped": "it is a temporary file, or one more than are stored of one job",
    "kept": "its job's outputs were left on the server",
    "no_thumbnail": "no small picture was made of it",
    "open": "the job has not ended, and its files are stored when it does",
}
"""Why a file is not stored, by the word that says so."""


class Thumbnail(Struct, frozen=True, kw_only=True):
    """A small WebP of a stored picture."""

    asset: str
    hash: str
    size_bytes: int = 0
    media_type: str = ""
    width: int = 0
    height: int = 0


class JobFile(Plain, Struct, frozen=True, kw_only=True):
    """One file that a job has made."""

    index: int
    """Its place among all files of the job, from 0."""
    node: str
    """The id of the node that reported it."""
    kind: str
    """The list of the node's output that it stands in, such as images."""
    name: str
    """For people: with the job's id before it, safe as a file name, and the job's only one."""
    filename: str
    """As its server calls it."""
    subfolder: str = ""
    type: str = ""
    """The server's folder: output or temp."""
    backend: str = ""
    """The server that made it."""
    why: str = ""
    """Empty for a stored file, else a word of SENTENCES: kept, gone, quota, ..."""
    asset: str = ""
    hash: str = ""
    size_bytes: int = 0
    media_type: str = ""
    width: int = 0
    height: int = 0
    thumbnail: Thumbnail | None = None

    @property
    def is_stored(self) -> bool:
        """Whether its bytes were put into the store."""
        return not self.why


def job_files(job: Job) -> list[JobFile]:
    """Return the files that a job's outputs name, in their order; those so far of an open job."""
    found = [
        (node, kind, reference)
        for node, output in job.outputs.items()
        for kind, value in output.items()
        for reference in references({kind: value})
    ]
    return [_file(job, index, *place) for index, place in enumerate(found)]


def choose_file(
    job: Job, file: str | None = None, *, node: str | None = None, index: int | None = None
) -> JobFile:
    """Return one file of a job: by its name, the server's or people's, or by its place.

    `index` counts the files of the job, of the node where one is given. Without any of them it is
    the first that is stored, else the first. Raises OutputUnknown; InvalidName for a name that
    several files have.
    """
    files = [one for one in job_files(job) if node in (None, one.node)]
    known = tuple(one.name for one in files) or tuple(one.node for one in job_files(job))
    if file is not None:
        found = [one for one in files if one.name == file]
        found = found or [one for one in files if file in (one.filename, _path(one))]
        if len(found) > 1 and index is None:
            places = ", ".join(f"{one.name} (index {one.index})" for one in found[:5])
            raise InvalidName("file", file, f"several files have this name: {places}")
        files = found
    elif index is None:
        files = [one for one in files if one.is_stored] or files
    if not 0 <= (index or 0) < len(files):
        raise OutputUnknown(job.job_id, _wanted(file, node, index), known)
    return files[index or 0]


def not_stored(job_id: str, file: JobFile, *, thumbnail: bool = False) -> OutputNotStored:
    """Return the error that says why a file, or its thumbnail, cannot be had."""
    why = file.why or ("no_thumbnail" if thumbnail else "")
    sentence = SENTENCES.get(why, why)
    return OutputNotStored(job_id, file.filename, why, sentence, file.backend)


def _path(file: JobFile) -> str:
    return f"{file.subfolder}/{file.filename}"


def _wanted(file: str | None, node: str | None, index: int | None) -> str:
    words = [file or "", f"of node {node}" if node is not None else ""]
    words.append(f"number {index}" if index is not None else "")
    return " ".join(filter(None, words))


def _file(job: Job, index: int, node: str, kind: str, reference: Mapping[str, object]) -> JobFile:
    filename = _text(reference, "filename")
    stored = _stored(reference)
    why = "" if stored else _text(reference, "why") or ("kept" if job.is_terminal else "open")
    return JobFile(
        index=index,
        node=node,
        kind=kind,
        name=safe_name(_text(reference, "name")) if stored else named_for(job.job_id, filename),
        filename=filename,
        subfolder=_text(reference, "subfolder"),
        type=_text(reference, "type"),
        backend=job.backend,
        why=why,
        thumbnail=_thumbnail(reference.get("thumbnail")) if stored else None,
        **stored,
    )


def _thumbnail(value: object) -> Thumbnail | None:
    fields = _stored(value) if isinstance(value, Mapping) else {}
    return Thumbnail(**fields) if fields else None


class Fields(TypedDict, total=False):
    asset: str
    hash: str
    size_bytes: int
    media_type: str
    width: int
    height: int


def _stored(reference: Mapping[str, object]) -> Fields:
    """Return what is said of stored bytes; nothing where no store can have said it."""
    try:
        asset, content_hash = check_asset_id(reference.get("asset")), reference.get("hash")
        return {
            "asset": asset,
            "hash": check_hash(content_hash),
            "size_bytes": _count(reference, "size_bytes"),
            "media_type": _text(reference, "media_type"),
            "width": _count(reference, "width"),
            "height": _count(reference, "height"),
        }
    except InvalidName:
        return {}


def _text(reference: Mapping[str, object], name: str) -> str:
    value = reference.get(name)
    return value if isinstance(value, str) else ""


def _count(reference: Mapping[str, object], name: str) -> int:
    value = reference.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
