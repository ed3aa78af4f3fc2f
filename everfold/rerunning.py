"""Submits a job that has ended once more, under another id and with some inputs changed.

Rule: all that the job was submitted with goes along. What is no longer kept is an error that says
so, and never a job without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from everfold.changed_graph import changed_graph
from everfold.projector.job.job import Job
from everfold.shown_jobs import ShownJobs
from everfold.streams.appending.body import graph_of
from everfold.streams.appending.job_input import load_input
from everfold.streams.appending.log import Log
from everfold.streams.assets.graph_inputs import find_references
from everfold.streams.errors import Refused
from everfold.streams.events.event import AssetInput, Failure
from everfold.streams.leases.acts import note_act

if TYPE_CHECKING:
    from everfold.streams.assets.asset_store import AssetStore


class RerunClient(Protocol):
    """What of a client is needed here."""

    log: Log
    _shown: ShownJobs

    @property
    def assets(self) -> AssetStore: ...


async def rerun_once(
    client: RerunClient, job: Job, changes: Mapping[str, object], job_id: str, noted: str | None
) -> str | None:
    """Submit a job again under the id `job_id`, which is returned; None where it is known already.

    With `noted`, the act is noted. Raises Refused, InputRefused.
    """
    if not job.is_terminal:
        raise Refused(f"job {job.job_id} is {job.status}: only one that has ended is run again")
    sent = await load_input(client.log, job)
    if isinstance(sent, Failure):
        raise Refused(f"job {job.job_id} cannot be run again, submit it anew: {sent.message}")
    graph = changed_graph(sent.workflow, changes) if changes else sent.workflow
    if noted is not None:
        await note_act(client.log, "rerun_jobs", job.job_id, noted)
    made = await client.log.submit(
        graph,
        job_id=job_id,
        kind=job.kind,
        user=job.user,
        metadata=job.metadata,
        queue=job.queue,
        priority=job.priority,
        policy=job.policy,
        batch=job.batch,
        tags=job.tags,
        needs=job.needs,
        extra_data=sent.extra_data,
        partner_keys=sent.partner_keys,
        rerun_of=job.job_id,
        inputs=await _inputs_of(client, job, graph, changes),
        callback=sent.callback,
    )
    client._shown.note(made.job_id, 1, made.entry_id)
    return made.job_id if made.created else None


async def _inputs_of(
    client: RerunClient, job: Job, graph: bytes, changes: Mapping[str, object]
) -> dict[str, AssetInput]:
    """Return the files that the graph names. Raises InputRefused for one that nobody knows."""
    kept = dict[str, AssetInput]()
    for one in find_references(graph_of(graph)):
        found = job.inputs.get(one.place)
        if found is not None and one.means(found):
            kept[one.place] = found
        elif one.place in changes:
            # Here, because most programs send no files.
            from everfold.assets.job_inputs import named_input

            kept[one.place] = await named_input(client.assets, job.user, one)
    return kept
