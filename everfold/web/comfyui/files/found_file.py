"""Finds the stored file that ComfyUI's clients name by filename, subfolder and type.

Rule: exactly the file of the job, or the upload of the caller, that is named; else none.
"""

from __future__ import annotations

import re

from msgspec import Struct

from everfold.assets.getting import asset_of
from everfold.assets.job_files import JobFile, job_files
from everfold.projector.job.job import Job
from everfold.runner.decisions.output_files import SENT
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.upload_names import find_named, upload_key
from everfold.streams.errors import InvalidName, JobUnknown, Unknown
from everfold.web.operation import Call

KINDS = ("input", "output", "temp")

_ANNOTATED = re.compile(r"(.*?) ?\[(input|output|temp)\]", re.DOTALL)


class FileName(Struct, frozen=True):
    """A file as clients name it."""

    filename: str
    subfolder: str = ""
    kind: str = "input"

    @property
    def path(self) -> str:
        """Return folder and name, with "/" between them."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


class FoundFile(Struct, frozen=True):
    """A stored file."""

    asset: Asset
    thumbnail: str = ""
    """Asset id of a small picture of it, empty for none."""


def named_in_graph(text: str) -> FileName:
    """Return the file that the value of an input names, such as `clipspace/mask.png [input]`."""
    folder, _, filename = text.replace("\\", "/").rpartition("/")
    return named_apart(filename, folder, "input")


def plain_folder(text: str) -> str:
    """Return a folder as it is stored: `a/b` for `a//b/./`. One that leads out keeps its dots."""
    return "/".join(part for part in text.replace("\\", "/").split("/") if part not in ("", "."))


def named_apart(filename: str, subfolder: str, kind: str) -> FileName:
    """Return the file that three texts name. Where the name ends with a kind, such as `mask.png
    [input]`, that one counts: clients cut the value of an input at its slashes."""
    folder = plain_folder(subfolder)
    found = _ANNOTATED.fullmatch(filename)
    return FileName(found[1], folder, found[2]) if found else FileName(filename, folder, kind)


async def find_file(call: Call, name: FileName) -> FoundFile | None:
    """Return a file that the caller may see; None for any other. Raises a leaf of Unavailable."""
    job_id, of_server = job_and_name(name)
    if name.kind != "input" and job_id:
        try:
            job = await call.gateway.job(call.caller, job_id)
        except (JobUnknown, InvalidName):
            job = None
        if job is not None:
            return await of_job(call, job, of_server)
    return await _of_uploads(call, name)


def job_and_name(name: FileName) -> tuple[str, FileName]:
    """Return the job that a subfolder names, and the file as the server of the job has it."""
    job_id, _, folder = name.subfolder.replace("\\", "/").strip("/").partition("/")
    return job_id, FileName(name.filename, folder, name.kind)


async def of_job(call: Call, job: Job, name: FileName) -> FoundFile | None:
    """Return the stored file of a job; None where it has none of that name."""
    for file in job_files(job):
        if names_file(name, file) and file.is_stored:
            try:
                asset = await asset_of(call.gateway.everfold.assets, job, file)
            except Unknown:
                continue
            return FoundFile(asset, file.thumbnail.asset if file.thumbnail else "")
    return None


def names_file(name: FileName, file: JobFile) -> bool:
    """Say whether this is the name of a file on its job's server."""
    kind = "temp" if file.type == SENT else file.type or "output"
    folder = file.subfolder.replace("\\", "/").strip("/")
    return (name.filename, name.subfolder, name.kind) == (file.filename, folder, kind)


async def _of_uploads(call: Call, name: FileName) -> FoundFile | None:
    store = call.gateway.everfold.assets
    try:
        key = upload_key(name.path, name.kind)
        named = (await find_named(store, call.caller.user, [key])).get(key)
        return FoundFile(await store.get(named.asset)) if named else None
    except (InvalidName, Unknown):
        return None
