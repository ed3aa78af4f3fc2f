"""The newest picture of a job's node that is not done yet, as its server sent it."""

from __future__ import annotations

from starlette.responses import Response

from everfold.streams.live.live_stream import newest_previews
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.query import Query

NUMBER = Parameter(
    name="number", kind=int, least=0, most=2**53,
    told="Differs for each picture, so that a browser asks for the next one; any number.",
)  # fmt: skip

PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")
"""What is shown: a server may call its bytes anything."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


async def get_preview(call: Call) -> Response:
    """Return the newest preview of a job, or nothing while there is none."""
    Query(call.request, (NUMBER,)).number("number", 0)
    job = await call.gateway.job(call.caller, job_id_of(call))
    found = (await newest_previews(call.gateway.everfold.log, {job.job_id})).get(job.job_id)
    if found is None or found.media_type not in PICTURES:
        return Response(status_code=204, headers=HEADERS)
    return Response(found.image, media_type=found.media_type, headers=HEADERS)


PREVIEW: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/preview", answer=get_preview,
        name="get_job_preview", role="reader", parameters=(NUMBER,),
        answers={200: "image/*", 204: None},
        summary="Return the newest picture of a job's node that is not done yet.",
    ),
)  # fmt: skip
