"""Makes a job known: checks all that was given, writes it once, compares a repeat with the first.

Rule: nothing is written for what is refused. Partner keys are written before the job, because a
runner may take it at once, and deleted again where this call did not make the job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, structs

from everfold.streams.appending.body import (
    PartnerKeys,
    body_of,
    check_given,
    needs_in,
    read_body,
    targets_of,
)
from everfold.streams.appending.earlier_submit import Repeat, check_same, chosen_job_id, read_first
from everfold.streams.appending.graph_assets import note_graph_assets
from everfold.streams.appending.outcomes import Submission
from everfold.streams.appending.partner_keys import forget_partner_keys, write_partner_keys
from everfold.streams.appending.submitted_event import JobRequest, submitted_event
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import InvalidName, QueueFull, ServerError
from everfold.streams.events.event import AssetInput, Submitted
from everfold.streams.events.json_text import decoder
from everfold.streams.events.needs import Needs
from everfold.streams.events.ranges import check_number, whole_number
from everfold.streams.events.workflow_check import CheckedWorkflow, check_workflow
from everfold.streams.layout.reservations import USED_WITHIN_MS, Wanted
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import server_time_ms
from everfold.streams.telemetry.caller_trace import caller_trace

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

RESTORED_WAITS_S = 2.0
"""How long a job that was submitted again waits. Its history says by then that events were lost:
whoever takes it before that would not look for the attempt that still runs."""

_read_nodes = decoder(dict[str, object])

TRIES = 3
"""How often a job is written with room that was reserved for it."""


class NewJob(Struct, frozen=True):
    """A checked request, as it is written."""

    job_id: str
    event: Submitted
    stored: CheckedWorkflow
    partner_keys: PartnerKeys
    needs: Needs = Needs()
    """What a server must have to run it."""


async def submit_job(log: Log, request: JobRequest) -> Submission:
    """Make a job known, or return the one that an earlier submit with the same arguments made.

    Raises as `Log.submit` does.
    """
    plain = await checked_job(log, request)
    new = await sealed_job(log, plain)
    payload, key = log.encoded(new.event), request.idempotency_key
    name = log.keys.partner_keys(new.job_id, new.event.id)
    if new.partner_keys:
        noting = partial(write_partner_keys, log.redis, name, new.partner_keys)
        await with_retry(noting, log.retry_for_s)
    if new.event.inputs:
        await _keep_inputs(log, new, new.event.inputs)
    taken = await _taken_place(log, new.event)
    writing = partial(write_job, log, new, payload, taken=taken)
    reply = await with_retry(writing, log.retry_for_s)
    if reply[0] == b"full":
        raise QueueFull(new.event.queue, int(reply[1]), int(reply[2]))
    if reply[0] == b"submitted":
        made = Submission(new.job_id, bytes(reply[1]).decode(), created=True)
        log.memory.note_submit(new, payload, made.entry_id)
        return made
    if new.partner_keys:
        await with_retry(partial(forget_partner_keys, log.redis, name), log.retry_for_s)
    first = await with_retry(partial(read_first, log.redis, log.keys, new.job_id), log.retry_for_s)
    # One from before the first key was given is compared as it was then.
    event = new.event if first is None or is_sealed(first.metadata) else plain.event
    again = Repeat(new.job_id, key or new.job_id, event, is_moving=request.delay_s is not None)
    is_other = reply[0] == b"differs" if first is None else first.stored != event.stored
    check_same(first, again, is_other_body=is_other)
    known = Submission(new.job_id, await _entry_of(log, new.job_id, reply), created=False)
    log.memory.note_submit(new, payload, known.entry_id, is_first=False)
    return known


async def submit_again(log: Log, new: NewJob, payload: bytes) -> None:
    """Make a job known that was known before, with the event and the bytes that it had then.

    It waits for RESTORED_WAITS_S at least. Raises QueueFull, a leaf of Unavailable.
    """
    if new.partner_keys:
        name = log.keys.partner_keys(new.job_id, new.event.id)
        writing = partial(write_partner_keys, log.redis, name, new.partner_keys)
        await with_retry(writing, log.retry_for_s)
    if new.event.inputs:
        await _keep_inputs(log, new, new.event.inputs)
    clock = log.redis.at(log.keys.head(new.job_id))
    now_ms = await with_retry(partial(server_time_ms, clock), log.retry_for_s)
    due_ms = max(new.event.run_at_ms or 0, now_ms + int(RESTORED_WAITS_S * 1000))
    reply = await with_retry(partial(write_job, log, new, payload, due_ms), log.retry_for_s)
    if reply[0] == b"full":
        raise QueueFull(new.event.queue, int(reply[1]), int(reply[2]))
    if reply[0] == b"submitted":
        log.memory.note_submit(new, payload, bytes(reply[1]).decode())


async def _entry_of(log: Log, job_id: str, reply: scripts.Reply) -> str:
    """Return the entry id of the first submit, which an answer that it differs does not have."""
    found: object = reply[1] if len(reply) > 1 else None
    if found is None:
        asked = ("HGET", log.keys.head(job_id), "first")
        found = await with_retry(partial(command, log.redis, *asked), log.retry_for_s)
    return found.decode() if isinstance(found, bytes) else ""


async def _keep_inputs(log: Log, new: NewJob, inputs: Mapping[str, AssetInput]) -> None:
    partition, sha256 = log.keys.partition_of(new.job_id), new.event.stored
    noting = partial(note_graph_assets, log.redis, log.keys, partition, sha256, inputs)
    await with_retry(noting, log.retry_for_s)


async def checked_job(log: Log, request: JobRequest) -> NewJob:
    """Return the job of a request. Raises as `submit_job` does, for the arguments alone."""
    graph = check_workflow(request.workflow)
    given = check_given(request.extra_data, request.partner_keys, _read_nodes(graph.json))
    stored = body_of(graph, given.extra_data)
    event = submitted_event(request, graph, stored, given, await _run_at_ms(log, request))
    job_id = chosen_job_id(log.generation, event.user, request.job_id, event.idempotency_key)
    if (trace := caller_trace(request.traceparent)) is not None:
        event = structs.replace(event, trace=str(trace))
    needs = needs_in(graph, event.needs or (), targets_of(given.extra_data))
    return NewJob(job_id, log.stamp(event), stored, given.partner_keys, needs)


async def sealed_job(log: Log, new: NewJob) -> NewJob:
    """Return a checked job with its content sealed, where this process has a key.

    The hashes by which the event names what is stored are of the sealed bytes: nobody can guess a
    graph and find it confirmed. Raises as `Log.sealed` does.
    """
    if (sealing := log.sealing) is None:
        return new
    user, given = new.event.user, new.stored.json

    async def seal(content: bytes) -> CheckedWorkflow:
        found = await with_retry(partial(sealing.content, user, content), log.retry_for_s)
        return CheckedWorkflow(found, hashlib.sha256(found).hexdigest())

    stored = graph = await seal(given)
    if new.event.body:
        graph = await seal(bytes(read_body(given).workflow))
    event = await log.sealed(new.job_id, new.event)
    body = stored.sha256 if new.event.body else UNSET
    event = structs.replace(event, workflow=graph.sha256, body=body)
    return structs.replace(new, event=event, stored=stored)


async def _run_at_ms(log: Log, request: JobRequest) -> int | None:
    """Return the time before which the job does not run; a delay counts from the server's now."""
    run_at_ms = request.run_at_ms
    if run_at_ms is not None:
        run_at_ms = whole_number("run_at_ms", run_at_ms)
    check_number("delay_s", request.delay_s)
    if request.delay_s is None:
        return run_at_ms
    if run_at_ms is not None:
        raise InvalidName("delay_s", request.delay_s, "run_at_ms was given, too; use one of them")
    now_ms = await with_retry(partial(server_time_ms, log.redis), log.retry_for_s)
    return now_ms + int(request.delay_s * 1000)


async def _taken_place(log: Log, event: Submitted) -> str:
    """Take a place in the order of a spread namespace for a job that may run now."""
    if not log.keys.is_spread or event.run_at_ms:
        return ""
    return await log.spread.places.take(event.queue, event.priority, event.user)


async def write_job(
    log: Log, new: NewJob, payload: bytes, due_ms: int | None = None, taken: str = ""
) -> scripts.Reply:
    """Write a checked job, with its event as encoded; return an outcome of submit.lua.

    `due_ms` is another time than the event's, before which the job does not run, `taken` its place
    in the order of a spread namespace. Raises a leaf of Unavailable.
    """
    what = f"waiting queue {new.event.queue}"
    reply = await _write_job(log, new, payload, due_ms, taken, 0)
    for _ in range(TRIES):
        if reply[0] != b"limited":
            return reply
        limit, until_ms = int(reply[1]), int(reply[2]) + USED_WITHIN_MS
        async with log.spread.reservations.reserved({what: Wanted(limit, 1)}) as granted:
            if not granted[what].number:
                return [b"full", granted[what].found, limit]
            reply = await _write_job(log, new, payload, due_ms, taken, until_ms)
    raise ServerError("room in a queue was reserved, and had run out before the job came there")


async def _write_job(
    log: Log, new: NewJob, payload: bytes, due_ms: int | None, taken: str, room_until_ms: int
) -> scripts.Reply:
    keys, event = log.keys, new.event
    partition = keys.partition_of(new.job_id)
    return await scripts.submit(
        log.redis,
        keys=(
            keys.log(partition),
            keys.head(new.job_id),
            keys.workflow(partition, event.stored),
            keys.workflows(partition),
            keys.later(partition),
            keys.deadlines(partition),
            keys.queues(partition),
        ),
        job_id=new.job_id,
        event_id=event.id,
        payload=payload,
        sha256=event.stored,
        graph=new.stored.json,
        due_ms=(event.run_at_ms or 0) if due_ms is None else due_ms,
        start_within_ms=start_within_ms(event),
        wake_channel=keys.wake_at(partition),
        wake_message=f"dispatch {partition}",
        partitions=keys.partitions,
        place=(event.queue, event.priority, new.needs.signature, event.user, event.kind),
        taken=taken,
        room_until_ms=room_until_ms,
        replicas=log.replicas,
    )


def start_within_ms(event: Submitted) -> int:
    """Return the time after its submit, or after it is due, to start the job in; 0 for any."""
    limit_s = event.policy.queue_deadline_s
    return 0 if limit_s is None else max(1, int(limit_s * 1000))
