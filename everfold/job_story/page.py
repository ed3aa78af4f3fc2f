"""A job's story as one HTML file: pictures, sentences, lanes and events, without a script.

Rule: all that others wrote is escaped, nothing is loaded from anywhere, and the page forbids
itself to run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from everfold.durations import duration_text
from everfold.event_text import EventLine
from everfold.job_story.gantt import gantt
from everfold.job_story.lanes import leases_of, stretches_of
from everfold.job_story.small_pictures import SmallPicture
from everfold.projector.job.job import Job
from everfold.streams.border.text import for_markup
from everfold.streams.events.record import Recorded

LINES_LIMIT = 2_000
"""Events that are told, the newest ones."""
SENTENCE_LIMIT = 2_000
EVENT_LIMIT = 4_000
"""Characters of an event's own JSON."""

RULES = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif;--quiet:#6b7280;--line:#8885}
body{max-width:64rem;margin:0 auto;padding:1rem}h1{font-size:1.3rem;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin-top:1.6em}.none,time,small,figcaption{color:var(--quiet)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1rem}
figure{margin:0}img{max-width:100%;border-radius:6px}figcaption{font-size:.85em}
figcaption,li,pre,dd{overflow-wrap:anywhere}
.error{border-left:4px solid #b42318;padding:.2em 1em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}
dt{color:var(--quiet)}dd{margin:0}
.gantt{width:100%;font:11px system-ui,sans-serif}.gantt text{fill:currentColor}
.track{fill:#8882}.waiting{fill:#9ca3af;background:#9ca3af}
.claimed{fill:#93a5f5;background:#93a5f5}.running{fill:#1f5fb8;background:#1f5fb8}
.recovered{fill:#d97706;background:#d97706}.fenced{stroke:#b42318;stroke-width:3;background:#b42318}
.key span{margin-right:1em}.key i{display:inline-block;width:1em;height:.7em}
li.recovery,li.runner{color:#b45309}pre{white-space:pre-wrap;font-size:.85em}
"""
KEY = (
    ("waiting", "waiting"),
    ("claimed", "held by a runner"),
    ("running", "running"),
    ("recovered", "nothing known: its runner was gone"),
    ("fenced", "from here on that runner's appends are refused"),
)
FACTS = ("queue", "priority", "user", "kind", "batch", "backend", "attempt", "recovered", "retried",
         "rerun_of")  # fmt: skip


def story_page(
    job: Job,
    records: Sequence[Recorded],
    lines: Sequence[EventLine],
    pictures: Sequence[SmallPicture],
    now_ms: int,
    titles: Mapping[str, str],
) -> str:
    """Return the page. `lines` are those of `records`, the whole history of the job; `titles` is
    what people call the servers, by address."""
    return "\n".join(_parts(job, records, lines, pictures, now_ms, titles)) + "\n"


def _parts(
    job: Job,
    records: Sequence[Recorded],
    lines: Sequence[EventLine],
    pictures: Sequence[SmallPicture],
    now_ms: int,
    titles: Mapping[str, str],
) -> Iterator[str]:
    title = for_markup(f"{job.job_id} {job.status}")
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{RULES}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body>"
    yield f"<h1>{title}</h1><p class='none'>As of {_time(now_ms)}. Times are UTC.</p>"
    if job.error is not None:
        node = f" in node {job.error.node} ({job.error.node_class})" if job.error.node else ""
        told = for_markup(job.error.message, SENTENCE_LIMIT)
        yield f'<p class="error"><b>{for_markup(job.error.code + node)}</b><br>{told}</p>'
    yield from _pictures(pictures)
    yield "<h2>Story</h2>"
    shown = lines[-LINES_LIMIT:]
    if len(shown) < len(lines):
        yield f"<p class='none'>The newest {len(shown):,} of {len(lines):,} events.</p>"
    yield f'<ol start="{len(lines) - len(shown) + 1}">'
    yield from (_line(line) for line in shown)
    yield "</ol><h2>Who held it, and where it ran</h2>"
    end_ms = job.ended_at_ms or now_ms
    yield gantt(stretches_of(lines), leases_of(lines), end_ms, titles) or "<p>Nobody yet.</p>"
    yield '<p class="key">' + "".join(
        f'<span><i class="{state}"></i> {words}</span>' for state, words in KEY
    ) + "</p>"  # fmt: skip
    yield from _facts(job, titles)
    yield "<h2>Events</h2>"
    yield from map(_event, records[-LINES_LIMIT:])
    yield "</body></html>"


def _pictures(pictures: Sequence[SmallPicture]) -> Iterator[str]:
    yield "<h2>Pictures</h2>"
    if not pictures:
        yield "<p class='none'>It has made no files.</p>"
        return
    yield '<div class="pictures">'
    for one in pictures:
        name, told = for_markup(one.name), for_markup(one.told)
        image = f'<img src="{one.address}" alt="{name}">' if one.address else ""
        yield f"<figure>{image}<figcaption>{name}<br><small>{told}</small></figcaption></figure>"
    yield "</div>"


def _line(line: EventLine) -> str:
    mark = f' class="{line.mark}"' if line.mark else ""
    gap = f" <small>+{duration_text(line.gap_ms / 1000)}</small>" if line.gap_ms >= 50 else ""
    told = for_markup(line.what, SENTENCE_LIMIT)
    who = f" <small>{for_markup(line.who)}, epoch {line.epoch}</small>" if line.who else ""
    return f"<li{mark}>{_time(line.time_ms)}{gap} {told}{who}</li>"


def _facts(job: Job, titles: Mapping[str, str]) -> Iterator[str]:
    yield "<h2>Facts</h2><dl>"
    for name in FACTS:
        if value := getattr(job, name):
            shown = titles.get(value, value) if name == "backend" else str(value)
            word = "server" if name == "backend" else name.replace("_", " ")
            yield f"<dt>{word}</dt><dd>{for_markup(shown)}</dd>"
    for name in ("submitted_at_ms", "claimed_at_ms", "started_at_ms", "ended_at_ms"):
        if value := getattr(job, name):
            yield f"<dt>{name.partition('_')[0]}</dt><dd>{_time(value)}</dd>"
    for key, value in job.metadata.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield f"<dt>{for_markup(key)}</dt><dd>{for_markup(text, SENTENCE_LIMIT)}</dd>"
    yield "</dl>"


def _event(record: Recorded) -> str:
    text = for_markup(record.shown_payload.decode(errors="replace"), EVENT_LIMIT)
    return (
        f"<details><summary>{record.seq} · {_time(record.time_ms)}</summary>"
        f"<pre>{text}</pre></details>"
    )


def _time(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    exact = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'<time datetime="{exact}" title="{exact}">{moment:%Y-%m-%d %H:%M:%S}</time>'
