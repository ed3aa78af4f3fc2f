"""What comes between the decision that a job ends and the event that says so: its files are stored.

Rule: the slot is free meanwhile. A runner without a store of assets changes nothing, and leaves a
job whose outputs must be stored to others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

import anyio
import msgspec
from msgspec import UNSET

from everfold.projector.job.job import Job
from everfold.runner.backend import SentPictures
from everfold.runner.capabilities.model_names import read_graph
from everfold.runner.decisions.actions import Action, DecisionInputs, Finish, Leave
from everfold.runner.decisions.collecting import (
    FAILED_WITHIN_S,
    after_collection,
    is_to_collect,
    kills_runners,
)
from everfold.runner.decisions.output_files import collected
from everfold.runner.decisions.sent_pictures import sending_nodes
from everfold.runner.execution.attempt_server import NO_STORE
from everfold.runner.execution.attempt_start import AttemptStart
from everfold.runner.execution.attempt_watch import AttemptWatch
from everfold.runner.execution.job_backend import JobBackend, JobSlot
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.shared import Shared
from everfold.runner.inputs.while_wanted import WhileWanted
from everfold.runner.outputs.output_collection import OutputCollection
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.events.event import Expired, Failure, Succeeded, Terminal
from everfold.streams.events.limits import NODES_LIMIT

Inputs = Callable[[None], tuple[Job, DecisionInputs]]
"""Returns the job as it is decided by, and what is known besides."""


class JobEnding:
    """Prepares the end of one job run's job. `until` returns once what is asked is so."""

    def __init__(
        self,
        shared: Shared,
        job_log: JobLog,
        slot: JobSlot,
        attempt_start: AttemptStart,
        until: Callable[[Callable[[], bool]], Awaitable[None]],
    ) -> None:
        self._shared, self._job_log = shared, job_log
        self._slot, self._attempt_start = slot, attempt_start
        self._until = until
        self._backend = JobBackend(shared.fleet)

    def free_slot(self) -> None:
        """Give the slot back when the end of the attempt was told: what comes next is sent while
        this one is recorded. Not where all that may store files without a slot do so already."""
        job, shared = self._job_log.job, self._shared
        stores = shared.assets is not None and job.policy.outputs != "keep"
        if not stores or shared.storing.of(job.server or job.backend).jobs.value:
            self._slot.release()

    async def prepare(self, event: Terminal, watch: AttemptWatch | None, inputs: Inputs) -> Action:
        """Store the files of the outputs where the policy wants it; return what to do then.

        Mostly it is to append the event, with what became of each file.
        """
        job, assets = self._job_log.job, self._shared.assets
        await self._shared.live.finish(job.job_id)
        if isinstance(event, Expired):
            return Finish(event)
        if isinstance(event, Succeeded) and watch is not None:
            executed = in_order(watch.executed)
            event = msgspec.structs.replace(event, executed=executed or UNSET)
        event = await self._shared.log.opened(event, job.job_id)
        if not is_to_collect(job, event) or assets is None:
            if assets is None and isinstance(event, Succeeded) and job.policy.outputs == "require":
                return Leave(NO_STORE)
            outputs = collected(event.outputs, {})
            return Finish(msgspec.structs.replace(event, outputs=outputs))
        async with self._shared.storing.of(job.server or job.backend).jobs:
            self._slot.release()
            collection = await self._collection(assets, event, watch)
            is_meant, limit_s = isinstance(event, Succeeded), self._shared.config.collect_within_s
            within_s = limit_s if is_meant else self._hurried_s
            run = partial(collection.run, event.outputs, within_s)
            # A large file may come for hours, from a server that is slow.
            if kills_runners(job):
                found = collection.skipped(event.outputs)
            else:
                found = await WhileWanted(run, self._until_hurried).run() or collection.so_far(
                    event.outputs
                )
        event = msgspec.structs.replace(event, outputs=found.outputs)
        job, now = inputs(None)
        return after_collection(job, event, found.missing, now)

    async def _until_hurried(self) -> None:
        await self._until(lambda: self._job_log.job.is_canceling)
        await anyio.sleep(self._hurried_s)

    @property
    def _hurried_s(self) -> float:
        return min(self._shared.config.collect_within_s, FAILED_WITHIN_S)

    async def _collection(
        self, assets: AssetStore, event: Terminal, watch: AttemptWatch | None
    ) -> OutputCollection:
        job = self._job_log.job
        sent = await self._pictures(job, watch) if isinstance(event, Succeeded) else {}
        shared, ended_ms = self._shared, getattr(event, "ended_at_ms", None) or 0
        open_output = partial(self._backend.open_output, job, ended_ms)
        made = (open_output, sent, shared.thumbnail)
        return OutputCollection(shared.config, assets, shared.storing, job, *made)

    async def _pictures(self, job: Job, watch: AttemptWatch | None) -> Mapping[str, SentPictures]:
        """Return the pictures that nodes sent over the connection, as far as this run saw them."""
        found = await self._attempt_start.load_input()
        if isinstance(found, Failure):
            return {}
        seen = watch.pictures(job.attempt) if watch else {}
        refused = {problem.node for problem in job.problems}
        nodes = sending_nodes(read_graph(found.workflow)) - refused
        return {node: seen.get(node, SentPictures()) for node in sorted(nodes)}


def in_order(nodes: Collection[str]) -> tuple[str, ...]:
    """Return the ids of nodes as an event has them: numbers in their order, bounded."""
    return tuple(sorted(nodes, key=lambda node: (len(node), node))[:NODES_LIMIT])
