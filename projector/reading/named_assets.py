"""Which stored assets a job names in its outputs.

Rule: an asset of a job that has ended, and that its outputs do not name, is of an attempt that was
run again. Where the job cannot be read nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset import Asset
from everfold.streams.border.sealed_form import SEALED
from everfold.streams.errors import CorruptLog, JobUnknown


async def is_named(log: Log, asset: Asset) -> bool | None:
    """Say whether the job that made an asset names it; None while nobody knows.

    A job that is not kept any more names it: its time alone ends it. Raises a leaf of Unavailable.
    """
    try:
        job = await log.opened(await get(log, asset.job_id), asset.job_id)
    except JobUnknown:
        return True
    except CorruptLog:
        return None
    if not job.is_terminal or any(SEALED in output for output in job.outputs.values()):
        return None
    return asset.id in set(asset_ids(job.outputs))


def asset_ids(outputs: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Yield the ids of the assets that outputs name at any depth, thumbnails included."""
    parts: list[object] = list(outputs.values())
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            found = part.get("asset")
            if isinstance(found, str):
                yield found
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part
