"""What one job sends: its graph, the extra_data beside it and its keys for partner nodes.

Rule: read once for each run and kept: the server may lose its copy. The keys are in nothing that
is recorded or shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from everfold.streams.appending.body import read_body, stored_needs
from everfold.streams.appending.callback import load_callback
from everfold.streams.appending.partner_keys import read_partner_keys
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import SealKeyMissing
from everfold.streams.events.event import Failure
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.needs import Needs

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

_read_object = decoder(dict[str, object])


class JobInput(Struct, frozen=True):
    """What was submitted to be sent."""

    workflow: bytes
    """The graph, as JSON."""
    extra_data: Mapping[str, object] = {}
    partner_keys: Mapping[str, Secret] = {}
    callback: str = ""
    """Not sent to a server: the URL that is told of its end."""
    stored: bytes = b""
    """All of it but the keys, as the server keeps it."""


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
    @property
    def callback(self) -> str: ...


async def load_input(log: Log, job: Sends, kept: bytes | None = None) -> JobInput | Failure:
    """Return what the job sends; a failure where Redis no longer has it, or its user was erased.

    `kept` is what it stored, where that is known: then it is not read. Raises SealKeyMissing where
    this process cannot open it, and what reading raises.
    """
    if kept is None:
        kept = await log.workflow(job.job_id, job.stored)
    if kept is None:
        return Failure(code="workflow_gone", message="the job's graph is no longer in Redis")
    stored = await log.opened_content(kept)
    if stored is None:
        return Failure(code="workflow_gone", message="the job's user was erased, and its graph too")
    keys = await load_keys(log, job)
    if missing := sorted(set(job.partner_keys) - keys.keys()):
        return Failure(
            code="partner_keys_expired",
            message=f"{', '.join(missing)} of this job is no longer kept: a job that no runner has "
            "loses its keys for partner nodes after a day; submit it again with new ones",
        )
    callback = await load_callback(log, job.job_id) if job.callback else ""
    if not job.body:
        return JobInput(stored, {}, keys, callback, kept)
    try:
        body = read_body(stored)
        extra_data = _read_object(bytes(body.extra_data))
        return JobInput(bytes(body.workflow), extra_data, keys, callback, kept)
    except NotJson:
        return Failure(code="workflow_gone", message="the job's graph in Redis cannot be read")


async def load_needs(log: Log, job_id: str, stored: str, labels: Collection[str]) -> Needs:
    """Return what a job needs of a server; of a graph that cannot be read, the labels alone.

    `stored` is the hash under which it stored its graph. Raises a leaf of Unavailable.
    """
    found = await log.workflow(job_id, stored)
    return await opened_needs(log, found, labels)


async def opened_needs(log: Log, stored: bytes | None, labels: Collection[str]) -> Needs:
    """Return the same by what the job stored, which may be sealed. Raises a leaf of Unavailable."""
    try:
        return stored_needs(await log.opened_content(stored or b"{}") or b"{}", labels)
    except SealKeyMissing:
        return stored_needs(b"{}", labels)


async def load_keys(log: Log, job: Sends) -> Mapping[str, Secret]:
    """Return the job's keys for partner nodes, and keep them for another day."""
    return await read_partner_keys(log.redis, log.keys, job.job_id) if job.partner_keys else {}
