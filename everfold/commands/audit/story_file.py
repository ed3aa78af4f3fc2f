"""`everfold audit show JOB --html FILE`: a job's story as one page."""

from __future__ import annotations

from pathlib import Path

from everfold.archives.opening import known_archive
from everfold.commands.new_file import new_file
from everfold.commands.session import Session
from everfold.job_story.saved_story import saved_story
from everfold.streams.retention.history import job_history


async def write_story(
    job_id: str, file: Path, archive: str, assets: str | None, session: Session
) -> None:
    """Write the page of a job, whole or not at all. Raises Misconfigured, and as reading does."""
    async with session.open("reader", assets=assets) as everfold:
        log, job_id = everfold.log, await everfold.find(job_id)
        found = await job_history(log, job_id, await known_archive(log, archive))
        records = await log.opened_records(found)
        page = await saved_story(log, everfold.assets, records)
    with new_file(file) as path:
        path.write_text(page, encoding="utf-8")
    told = {
        "job_id": job_id,
        "file": str(file),
        "events": len(records),
        "bytes": len(page.encode()),
    }
    session.tell(told, f"the story of {job_id}, {len(records)} events: {file}")
