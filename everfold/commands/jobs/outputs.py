"""`everfold jobs outputs`: what a job has made, and its files written into a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from everfold.assets.sizes import size_text
from everfold.client import Everfold
from everfold.commands.options import AssetsPlace, JobId
from everfold.commands.output import Part, complain, emit, say
from everfold.commands.session import DEFAULT, Session
from everfold.projector.job.job import Job
from everfold.projector.job.short_ids import SHORT

if TYPE_CHECKING:
    from everfold.assets.getting import SavedFile
    from everfold.assets.job_files import JobFile


async def outputs(
    job_id: JobId,
    *,
    to: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
    thumbnails: Annotated[bool, Parameter(negative=())] = False,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """List what a job has made, or write its files into a folder.

    With --to the exit code is 1 if a file is not there afterwards, temporary previews aside.

    Parameters
    ----------
    to
        Write the stored files into this folder, under their names with the job's id. A file with
        other bytes is never written over; one that is there already is left.
    thumbnails
        With --to: write their small pictures, too.
    """
    async with session.open("reader", assets=assets) as everfold:
        job = await everfold.get(await everfold.find(job_id))
        if to is not None:
            return await _save(everfold, job, to, thumbnails, session)
    if session.json:
        emit(job.outputs)
    else:
        show_outputs(job, session)
    return 0


def show_outputs(job: Job, session: Session) -> None:
    """Print the files of a job as a table, and what else its nodes have put out."""
    from everfold.assets.job_files import SENTENCES, job_files

    files, others = job_files(job), list(_others(job.outputs))
    if files:
        columns = {
            "node": lambda file: file.node,
            "file": _place,
            "size": lambda file: size_text(file.size_bytes) if file.is_stored else None,
            "type": lambda file: file.media_type or None,
            "pixels": lambda file: f"{file.width}x{file.height}" if file.width else None,
            "stored": _mark,
        }
        session.show(files, columns, wrap=("file",))
    for line in others:
        say(line)
    if not files and not others:
        say("no outputs yet" if not job.is_terminal else "no outputs")
    for why in dict.fromkeys(file.why for file in files if file.why):
        say((f"{why}: {SENTENCES.get(why, why)}", "dim"))
    if any(file.is_stored for file in files):
        say((f"to have them: everfold jobs outputs {job.job_id[-SHORT:]} --to FOLDER", "dim"))


def _place(file: JobFile) -> str:
    """Return where the file is on its server."""
    return "/".join(part for part in (file.type, file.subfolder, file.filename) if part)


def _mark(file: JobFile) -> Part:
    return ("yes", "green") if file.is_stored else (file.why, "yellow")


def _others(outputs: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Yield what the outputs hold besides files, a line for each value."""
    from everfold.runner.decisions.output_files import references

    for node, output in outputs.items():
        for kind, value in output.items():
            if not references({kind: value}):
                for one in value if isinstance(value, list) else [value]:
                    yield f"node {node}  {kind}  {msgspec.json.encode(one).decode()}"


async def _save(
    everfold: Everfold, job: Job, folder: Path, thumbnails: bool, session: Session
) -> int:
    from everfold.assets.getting import each_saved

    found = list["SavedFile"]()
    async for saved in each_saved(everfold.assets, job, folder, thumbnails=thumbnails):
        found.append(saved)
        if session.json:
            emit(saved)
        elif saved.is_there:
            say((f"{saved.outcome:<5}  ", "dim"), saved.path)
        elif not _is_unmeant(saved):
            complain(saved.problem)
    if not job.is_terminal:
        complain(f"job {job.job_id} has not ended")
        return 1
    return 0 if _is_whole(found) else 1


def _is_whole(found: Sequence[SavedFile]) -> bool:
    """Say whether all files are there that a job is run for; with none at all it is not."""
    meant = [saved for saved in found if not _is_unmeant(saved)]
    return all(saved.is_there for saved in meant) and (bool(meant) or not found)


def _is_unmeant(saved: SavedFile) -> bool:
    """Say whether it is a preview, which is stored only for jobs that ask for it."""
    return saved.file.type == "temp" and saved.file.why == "skipped"
