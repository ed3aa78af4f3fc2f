"""How jobs and events look to people: colors, bars, ages, one-line stories."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
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

console = Console(highlight=False, soft_wrap=True)


def emit(value: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def status(job: Job) -> Text:
    return Text(job.status, STYLES.get(job.status, ""))


def doing(job: Job) -> str:
    """Say in a few words what the job is at, or how it ended."""
    if job.error is not None and job.status == "failed":
        return job.error.message.strip().partition("\n")[0]
    if job.is_terminal:
        return job.reason
    if job.steps:
        return f"{job.node_class or job.node} {job.step}/{job.steps}"
    return job.node_class or job.reason


def ago(time_ms: int) -> str:
    """Return the age of a moment in the unit that fits."""
    return span(time.time() - time_ms / 1000)


def span(seconds: float) -> str:
    """Return a time span in the unit that fits."""
    seconds = max(0.0, seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def plain_table(widths: dict[str, int], last: str) -> Table:
    """Return a table whose columns keep their widths; only the last one gives way."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column, width in widths.items():
        table.add_column(column, min_width=width, no_wrap=True)
    table.add_column(last, no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def job_table(jobs: Iterable[Job]) -> Table:
    widths = {"job": 36, "status": 9, "progress": 16, "": 4, "try": 3, "age": 6, "runner": 8}
    table = plain_table(widths, "doing")
    for job in jobs:
        recovered = f" taken over {job.recovered}x" if job.recovered else ""
        table.add_row(
            job.job_id,
            status(job),
            ProgressBar(total=1.0, completed=job.progress, width=16),
            f"{job.progress:4.0%}",
            str(job.attempt or "-"),
            ago(job.submitted_at_ms),
            (job.owner or "-") + recovered,
            doing(job),
        )
    return table


def event_line(record: Recorded) -> Text:
    """Tell one event in a line: time, job, sequence, what, who, details."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.time_ms / 1000))
    head = f"{clock}.{record.time_ms % 1000:03}  {record.job_id}  {record.seq:>3}  "
    if isinstance(record.event, Unreadable):
        return Text(head).append(f"unreadable: {record.event.why}", "red")
    name = str(record.event.__struct_config__.tag).removeprefix("job.")
    line = Text(head).append(f"{name:<16}", STYLES.get(name, "bold"))
    return line.append(f" {record.event.actor}  ", "dim").append(_details(record.payload))


ENVELOPE = {"id", "type", "v", "actor", "trace"}
DETAILS_LIMIT = 200


def _details(payload: bytes) -> str:
    fields = json.loads(payload.decode(errors="replace"))
    told = {k: v for k, v in fields.items() if k not in ENVELOPE and v not in (None, "", {}, [])}
    text = "  ".join(f"{k}={_short(v)}" for k, v in told.items())
    return text if len(text) <= DETAILS_LIMIT else text[: DETAILS_LIMIT - 1] + "…"


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def event_object(record: Recorded) -> dict[str, object]:
    """Return an event for programs: the entry's facts and the event's own JSON."""
    return {
        "job_id": record.job_id,
        "seq": record.seq,
        "epoch": record.epoch,
        "entry_id": record.entry_id,
        "time_ms": record.time_ms,
        "event": _stored(record),
    }


def _stored(record: Recorded) -> object:
    """Return the event's JSON as it is stored, on one line; as text where it is none."""
    text = record.payload.decode(errors="replace")
    if isinstance(record.event, Unreadable):
        try:
            json.loads(text)
        except ValueError:
            return text
    return msgspec.Raw(" ".join(text.splitlines()).encode())
