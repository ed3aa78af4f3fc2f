"""The calls of `Everfold` that get the files of jobs.

Rule: what they need is loaded when the first file is asked for; most programs ask for none.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from everfold.projector.job.job import Job

if TYPE_CHECKING:
    from everfold.assets.getting import OpenOutput, SavedFile
    from everfold.assets.job_files import JobFile
    from everfold.streams.assets.asset_store import AssetStore


class Client(Protocol):
    """What an `Everfold` has that reads outputs."""

    @property
    def assets(self) -> AssetStore: ...

    async def get(self, job_id: str, at_least_seq: int = 0) -> Job: ...


class OutputReading:
    """Reads the files that jobs have made."""

    async def output_files(self: Client, job_id: str) -> list[JobFile]:
        """Return the files that a job has made, in their order; those so far of an open job.

        Each says whether it is stored, and why not. Raises as `get` does.
        """
        from everfold.assets.job_files import job_files

        return job_files(await self.get(job_id))

    @contextlib.asynccontextmanager
    async def open_output(
        self: Client,
        job_id: str,
        file: str | None = None,
        *,
        node: str | None = None,
        index: int | None = None,
        start: int = 0,
        end: int | None = None,
        thumbnail: bool = False,
    ) -> AsyncIterator[OpenOutput]:
        """Open a stored file of a job, to read its bytes from `start` up to, without, `end`.

        `file` is its name, for people or as its server calls it; `index` counts the files of the
        job, of the node `node` where that is given. Without any of them it is the first that is
        stored. A whole file is compared with its hash: AssetDamaged after the last byte of one that
        has changed.

        Raises InvalidName; OutputUnknown for a file that there is not, OutputNotStored for one that
        is not in the store (it says why, and which server made it) and for a `thumbnail` that was
        not made, AssetUnknown for one that is no longer kept, AssetGone where the store that is
        used here does not have it, AssetsUnavailable, and as `get` does.
        """
        from everfold.assets import getting
        from everfold.assets.job_files import choose_file

        getting.check_choice_of_file(file, node, index)
        part = getting.check_part(start, end)
        getting.check_flag("thumbnail", thumbnail)
        job = await self.get(job_id)
        found = choose_file(job, file, node=node, index=index)
        async with getting.opened_output(
            self.assets, job, found, part, thumbnail=thumbnail
        ) as output:
            yield output

    async def save_outputs(
        self: Client, job_id: str, folder: str | Path, *, thumbnails: bool = False
    ) -> list[SavedFile]:
        """Write the files of a job into a folder, which is made; return what became of each.

        They have their names for people, with the job's id in them. A file is written under
        another name and compared with its hash first, and never over a file with other bytes; one
        that is there already is left. With `thumbnails`, those are written too. Raises
        Misconfigured where the folder cannot be written, a leaf of Unavailable, and as `get` does.
        """
        from everfold.assets.getting import each_saved

        job = await self.get(job_id)
        return [one async for one in each_saved(self.assets, job, folder, thumbnails=thumbnails)]
