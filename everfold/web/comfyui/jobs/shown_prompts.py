"""Puts jobs together with what they were submitted with: items of the queue, entries of the
history.

Rule: an entry of a job that has ended is made once, and then kept: clients poll the whole history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec
from msgspec import Raw, Struct

from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.web.comfyui.jobs.bounded_cache import BoundedCache
from everfold.web.comfyui.jobs.contents import Content, Contents
from everfold.web.comfyui.jobs.shown_job import (
    history_outputs,
    meta_of,
    number_of,
    outputs_to_execute,
    shown_extra_data,
    shown_graph,
)
from everfold.web.comfyui.lifecycle_messages import history_messages
from everfold.web.comfyui.prompt_ids import prompt_id_of

ENTRIES_BYTES = 32 * 2**20
"""Of entries as JSON that are kept."""

Item = tuple[int, str, dict[str, object], dict[str, object], list[str]]
"""Number, prompt id, graph, extra_data, outputs to execute."""

OutputClasses = Callable[[], Awaitable[frozenset[str] | None]]


class Status(Struct, frozen=True, kw_only=True):
    """How a prompt has ended."""

    status_str: str
    completed: bool
    messages: Sequence[tuple[str, object]]
    """Names and messages, as they are sent."""


class Entry(Struct, frozen=True, kw_only=True):
    """One prompt of the history."""

    prompt: Item
    outputs: dict[str, dict[str, object]]
    status: Status
    meta: dict[str, dict[str, object]]


class ShownPrompts:
    """Makes items and entries. `output_classes` tells the classes of output nodes."""

    def __init__(self, log: Log, output_classes: OutputClasses) -> None:
        self._contents = Contents(log)
        self._output_classes = output_classes
        self._entries = BoundedCache[Raw](ENTRIES_BYTES)

    async def items(
        self, jobs: Sequence[Job], user: str, with_graphs: Collection[str] | None = None
    ) -> list[Item]:
        """Return jobs as items of the queue, as a user knows them.

        Only those of these job ids have their graphs, where any are given.
        """
        wanted = [job for job in jobs if with_graphs is None or job.job_id in with_graphs]
        contents = await self._contents.read(wanted)
        classes = await self._output_classes()
        return [
            item_of(job, prompt_id_of(job, user), contents.get(job.job_id, Content()), classes)
            for job in jobs
        ]

    async def contents(self, jobs: Sequence[Job]) -> dict[str, Content]:
        """Return what jobs were submitted with, by job id."""
        return await self._contents.read(jobs)

    async def entries(self, jobs: Sequence[Job], user: str) -> dict[str, Raw]:
        """Return prompt id -> entry of the history, in JSON, in the order of the jobs."""
        known = {job.job_id: self._entries.get(_key(job, user)) for job in jobs}
        # The newest first: of very large graphs those of older jobs are left out.
        missing = [job for job in reversed(jobs) if known[job.job_id] is None]
        for job, item in zip(missing, await self.items(missing, user), strict=True):
            entry = Raw(msgspec.json.encode(entry_of(job, item)))
            known[job.job_id] = entry
            if item[2]:
                self._entries.put(_key(job, user), entry, len(bytes(entry)))
        found = {prompt_id_of(job, user): known[job.job_id] for job in jobs}
        return {prompt_id: entry for prompt_id, entry in found.items() if entry is not None}


def _key(job: Job, user: str) -> tuple[str, int, bool]:
    return job.job_id, job.seq, job.user == user


def item_of(
    job: Job, prompt_id: str, content: Content, output_classes: frozenset[str] | None
) -> Item:
    """Return a job as ComfyUI's queue has it."""
    graph = shown_graph(job, content.graph)
    outputs = outputs_to_execute(job, graph, content.extra_data, output_classes)
    extra_data = shown_extra_data(job, content.extra_data)
    return number_of(job), prompt_id, graph, extra_data, outputs


def entry_of(job: Job, item: Item) -> Entry:
    """Return a job that has ended as ComfyUI's history has it."""
    has_succeeded, outputs = job.status == "succeeded", history_outputs(job)
    return Entry(
        prompt=item,
        outputs=outputs,
        status=Status(
            status_str="success" if has_succeeded else "error",
            completed=has_succeeded,
            messages=history_messages(job, item[1]),
        ),
        meta=meta_of(outputs),
    )
