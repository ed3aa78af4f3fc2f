"""A job's story as a page to be saved: what stands on it is gathered here.

Rule: the file of a command and the page of the gateway are the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

from everfold.event_text import event_lines
from everfold.job_story.page import story_page
from everfold.job_story.small_pictures import small_pictures
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import backend_titles
from everfold.streams.redis.server import server_time_ms


async def saved_story(
    log: Log, assets: AssetStore, records: Sequence[Recorded], job: Job | None = None
) -> str:
    """Return the page. `records` is the whole history of the job, opened; `job` is its state, by
    the last of them where it is not given. Raises a leaf of Unavailable."""
    titles = await backend_titles(log)
    lines = event_lines(records, titles)
    job = job or lines[-1].job
    pictures = await small_pictures(assets, job)
    return story_page(job, records, lines, pictures, await server_time_ms(log.redis), titles)
