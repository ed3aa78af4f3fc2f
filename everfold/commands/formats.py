"""How jobs, events and times look, in text and in JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from everfold.commands.output import Cell, Part
from everfold.durations import span_text
from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import NotJson, decoder, read_json
from everfold.streams.events.record import Recorded

STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "canceling": "magenta",
    "canceled": "magenta",
    "succeeded": "green",
    "failed": "red",
    "expired": "red",
}

WIDE = 120
"""Columns of a terminal in which a job's row has room for a bar."""
BAR_WIDTH = 16

ENVELOPE = {"id", "type", "v", "actor", "trace"}
DETAILS_LIMIT = 200


def status(job: Job) -> Part:
    if job.unreadable_seq and not job.is_terminal:
        return (f"was {job.status}", "red")
    return (job.status, STYLES.get(job.status, ""))


def doing(job: Job) -> str:
    """Return the node that a job runs and its step, or why the job ended."""
    if job.unreadable_seq and not job.is_terminal:
        return f"event {job.unreadable_seq} cannot be read; this is the state before it"
    if job.error is not None and job.status == "failed":
        return job.error.message.strip().partition("\n")[0]
    if job.is_terminal:
        return job.reason
    if job.steps:
        return f"{job.node_class or job.node} {job.step}/{job.steps}"
    return job.node_class or job.reason


def left(job: Job) -> str:
    """Return how long a job is expected to run still, as the end of a sentence; or nothing."""
    left_s = job.left_at_s(time.time() * 1000)
    return f", about {span(left_s)} left" if left_s else ""


def job_columns(
    width: int, short: Mapping[str, str] | None = None
) -> Mapping[str, Callable[[Job], Cell]]:
    """Return the columns of a list of jobs that fit into a width; 0 is without limit.

    A terminal with less than WIDE columns gets the `short` ids.
    """
    ids = {} if short is None or not 0 < width < WIDE else short
    wide: dict[str, Callable[[Job], Cell]] = {"progress": bar}
    more: dict[str, Callable[[Job], Cell]] = {
        "try": lambda job: job.attempt,
        "runner": lambda job: job.owner or "-",
        "taken over": lambda job: job.recovered,
    }
    return {
        "job": lambda job: ids.get(job.job_id, job.job_id),
        "status": status,
        **(wide if width >= WIDE else {}),
        "%": percent,
        "age": lambda job: ago(job.submitted_at_ms),
        **(more if not width or width >= WIDE else {}),
        "doing": lambda job: f"{doing(job)}{left(job)}",
    }


def bar(job: Job) -> Part:
    """Return a job's progress as a bar."""
    done = round(BAR_WIDTH * job.progress)
    return ("━" * done + "─" * (BAR_WIDTH - done), STYLES.get(job.status, ""))


def percent(job: Job) -> str:
    return f"{100 * job.progress:3.0f}"


def ago(time_ms: int) -> str:
    """Return the age of a moment in the unit that fits."""
    return span(time.time() - time_ms / 1000)


def span(seconds: float) -> str:
    """Return a time span as all output writes it; less than a second counts as none."""
    return span_text(seconds)


def clock(time_ms: int) -> str:
    """Return a moment's time of day on this machine."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%H:%M:%S.%f}"[:-3]


def event_line(record: Recorded) -> tuple[Part, ...]:
    """Return an event as one line: time, job, sequence, type, author, details."""
    head = f"{clock(record.time_ms)}  {record.job_id}  {record.seq:>3}  "
    if isinstance(record.event, Unreadable):
        return head, (f"unreadable: {record.event.why}", "red")
    name = str(record.event.__struct_config__.tag).removeprefix("job.")
    author = (f" {record.event.actor}  ", "dim")
    return head, (f"{name:<16}", STYLES.get(name, "bold")), author, _details(record.shown_payload)


_read_object = decoder(dict[str, object])


def _details(payload: bytes) -> str:
    fields = _read_object(payload.decode(errors="replace"))
    shown = {k: v for k, v in fields.items() if k not in ENVELOPE and v not in (None, "", {}, [])}
    text = "  ".join(f"{k}={_short(v)}" for k, v in shown.items())
    return text if len(text) <= DETAILS_LIMIT else text[: DETAILS_LIMIT - 1] + "…"


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def event_object(record: Recorded) -> dict[str, object]:
    """Return an event for programs: the entry's fields and the event's own JSON."""
    return {
        "job_id": record.job_id,
        "seq": record.seq,
        "epoch": record.epoch,
        "entry_id": record.entry_id,
        "time_ms": record.time_ms,
        "event": _stored(record),
    }


def _stored(record: Recorded) -> object:
    """Return the event's JSON as it is stored, on one line; as text if it is no JSON."""
    text = record.shown_payload.decode(errors="replace")
    if isinstance(record.event, Unreadable):
        try:
            read_json(text)
        except NotJson:
            return text
    return msgspec.Raw(text.replace("\n", " ").replace("\r", " ").encode())
