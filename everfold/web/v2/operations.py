"""The rows of the Comfy API v2, below /api/v2."""

from __future__ import annotations

from everfold.web.operation import CALLBACK, Operation, Parameter
from everfold.web.v2.jobs import cancel_job, get_job, get_logs, get_workflow
from everfold.web.v2.list_jobs import list_jobs
from everfold.web.v2.shapes import AssetAnswer, HashBody, JobAnswer, JobBody, JobPage, JobWorkflow
from everfold.web.v2.stored.assets import (
    create_from_hash,
    delete_asset,
    get_asset,
    get_content,
    has_hash,
)
from everfold.web.v2.stored.uploading import create_asset
from everfold.web.v2.stream.job_events import stream_job
from everfold.web.v2.submitting import create_job

KEY = Parameter(
    name="Idempotency-Key", place="header",
    told="1 to 255 ASCII characters. The same request with the same key is the same job.",
)  # fmt: skip
ASSET = Parameter(name="asset_id", place="path", told="Id of the file.", is_required=True)
HASH = Parameter(name="hash", place="path", told="blake3:<64 hex digits>", is_required=True)
JOB = Parameter(name="job_id", place="path", told="Id of the job.", is_required=True)

V2: tuple[Operation, ...] = (
    Operation(
        method="POST", path="/jobs", answer=create_job, name="create_job",
        summary="Submit a workflow; a repeated request finds the job that it has made.",
        parameters=(KEY, CALLBACK), body=JobBody, answers={201: JobAnswer},
    ),
    Operation(
        method="GET", path="/jobs", answer=list_jobs, name="list_jobs", role="reader",
        summary="List jobs, the one that was submitted last first.",
        parameters=(
            Parameter(name="limit", kind=int, told="Jobs of a page: 1 to 200, else 50."),
            Parameter(name="cursor", told="`next_cursor` of the page before."),
            Parameter(name="status", told="Statuses with commas between them: any of these."),
            Parameter(name="metadata[name]", told="Only jobs with this label; may be repeated."),
        ),
        answers={200: JobPage},
    ),
    Operation(
        method="GET", path="/jobs/{job_id}", answer=get_job, name="get_job", role="reader",
        summary="Show a job as it is now.", parameters=(JOB,), answers={200: JobAnswer},
    ),
    Operation(
        method="POST", path="/jobs/{job_id}/cancel", answer=cancel_job, name="cancel_job",
        summary="Request a job to be stopped.", parameters=(JOB,), answers={200: JobAnswer},
    ),
    Operation(
        method="GET", path="/jobs/{job_id}/workflow", answer=get_workflow,
        name="get_job_workflow", role="reader",
        summary="Show the graph that a job was made of.",
        parameters=(JOB, Parameter(name="format", told="api (default), or save: the editor's.")),
        answers={200: JobWorkflow},
    ),
    Operation(
        method="GET", path="/jobs/{job_id}/logs", answer=get_logs, name="get_job_logs",
        role="reader", summary="Say that there is no log of one job.", parameters=(JOB,),
        answers={204: None},
    ),
    Operation(
        method="GET", path="/jobs/{job_id}/events", answer=stream_job, name="stream_job",
        role="reader", summary="Send a job, then each change of it until it has ended.",
        parameters=(
            JOB,
            Parameter(
                name="Last-Event-ID", place="header", told="Only what came after this event."
            ),
        ),
        answers={200: "text/event-stream", 204: None},
    ),
    Operation(
        method="POST", path="/assets", answer=create_asset, name="create_asset",
        summary="Store a file.", parameters=(KEY,), body="multipart/form-data",
        answers={201: AssetAnswer, 200: AssetAnswer},
    ),
    Operation(
        method="POST", path="/assets/from-hash", answer=create_from_hash,
        name="create_asset_from_hash", summary="Give bytes that you have stored another name.",
        body=HashBody, answers={201: AssetAnswer, 200: AssetAnswer},
    ),
    Operation(
        method="HEAD", path="/assets/by-hash/{hash}", answer=has_hash, name="has_hash",
        role="reader", summary="Say by the status whether you have stored these bytes.",
        parameters=(HASH,),
        answers={200: None},
    ),
    Operation(
        method="GET", path="/assets/{asset_id}", answer=get_asset, name="get_asset",
        role="reader", summary="Show what is known of a file.", parameters=(ASSET,),
        answers={200: AssetAnswer},
    ),
    Operation(
        method="DELETE", path="/assets/{asset_id}", answer=delete_asset, name="delete_asset",
        summary="Forget a file.", parameters=(ASSET,), answers={204: None},
    ),
    Operation(
        method="GET", path="/assets/{asset_id}/content", answer=get_content,
        name="get_asset_content", role="reader", summary="Read a file, or a part of it.",
        parameters=(ASSET, Parameter(name="Range", place="header", told="bytes=0-99")),
        answers={200: "application/octet-stream", 206: "application/octet-stream"},
    ),
)  # fmt: skip
