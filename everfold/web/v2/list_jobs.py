"""Lists the jobs of a caller, page by page."""

from __future__ import annotations

import base64
import binascii

from msgspec import UNSET
from starlette.datastructures import QueryParams
from starlette.responses import Response

from everfold.projector.job.job import STATUSES
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.positions import Position
from everfold.web.bodies import json_answer
from everfold.web.listing import cursor_of
from everfold.web.operation import Call
from everfold.web.problem import Problem
from everfold.web.v2.job_answer import job_item
from everfold.web.v2.labels import label_filter
from everfold.web.v2.shapes import JobPage

USUAL_LIMIT, LIMIT = 50, 200
CURSOR_LIMIT = 400


async def list_jobs(call: Call) -> Response:
    """Answer with a page of jobs, the one that was submitted last first."""
    query = call.request.query_params
    selects = JobFilter(
        statuses=_statuses(query.get("status", "")),
        user=call.caller.scope,
        metadata=label_filter(query.multi_items()),
    )
    page = await call.gateway.listing.page(selects, _cursor(query), _limit(query))
    return json_answer(
        JobPage(
            jobs=[job_item(job) for job in page.jobs],
            next_cursor=_text(page.cursor) if page.cursor else UNSET,
        )
    )


def _limit(query: QueryParams) -> int:
    text = query.get("limit", str(USUAL_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) >= 1):
        raise Problem(400, "invalid_request", f"limit is a whole number from 1 to {LIMIT}")
    return min(int(text), LIMIT)


def _statuses(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if odd := [word for word in words if word not in STATUSES]:
        known = ", ".join(STATUSES)
        raise Problem(400, "invalid_request", f"no status is {odd[0][:40]!r}; there are {known}")
    return words


def _cursor(query: QueryParams) -> Position | None:
    text = query.get("cursor", "")
    if not text:
        return None
    try:
        inner = base64.urlsafe_b64decode(text[:CURSOR_LIMIT] + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        inner = ""
    place = cursor_of(inner)
    if place is None or _text(inner) != text:
        raise Problem(400, "invalid_cursor", "give back the cursor that came with the last page")
    return place


def _text(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")
