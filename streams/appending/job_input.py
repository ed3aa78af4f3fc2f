"""What one job sends: its graph, the extra_data beside it and its keys for partner nodes.

Rule: read once for each run and kept: the server may lose its copy. The keys are in nothing that
is recorded or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from everfold.streams.appending.body import read_body
from everfold.streams.appending.partner_keys import read_partner_keys
from everfold.streams.border.secrets import Secret
from everfold.streams.events.event import Failure
from everfold.streams.events.json_text import NotJson, decoder

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

_read_object = decoder(dict[str, object])


class JobInput(Struct, frozen=True):
    """What was submitted to be sent."""

    workflow: bytes
    """The graph, as JSON."""
    extra_data: Mapping[str, object] = {}
    partner_keys: Mapping[str, Secret] = {}


class Sends(Protocol):
    """A job, as far as it says what it sends."""

    @property
    def job_id(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def stored(self) -> str: ...
    @property
    def partner_keys(self) -> tuple[str, ...]: ...


async def load_input(log: Log, job: Sends) -> JobInput | Failure:
    """Return what the job sends; a failure where Redis no longer has it. Raises EverfoldError."""
    stored = await log.workflow(job.job_id, job.stored)
    if stored is None:
        return Failure(code="workflow_gone", message="the job's graph is no longer in Redis")
    keys = await load_keys(log, job)
    if missing := sorted(set(job.partner_keys) - keys.keys()):
        return Failure(
            code="partner_keys_expired",
            message=f"{', '.join(missing)} of this job is no longer kept: a job that no runner has "
            "loses its keys for partner nodes after a day; submit it again with new ones",
        )
    if not job.body:
        return JobInput(stored, {}, keys)
    try:
        body = read_body(stored)
        return JobInput(bytes(body.workflow), _read_object(bytes(body.extra_data)), keys)
    except NotJson:
        return Failure(code="workflow_gone", message="the job's graph in Redis cannot be read")


async def load_keys(log: Log, job: Sends) -> Mapping[str, Secret]:
    """Return the job's keys for partner nodes, and keep them for another day."""
    return await read_partner_keys(log.redis, log.keys, job.job_id) if job.partner_keys else {}
