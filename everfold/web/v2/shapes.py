"""The bodies of the Comfy API v2, as its documents write them.

Rule: a field of the contract is never left out, unless the contract allows that; fields of
Everfold's own stand beside them, and clients overlook what they do not know.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OutputType = Literal["image", "video", "audio", "text", "file", "latent"]


class Progress(Struct, frozen=True, kw_only=True):
    """How far a job is. Each one tells all of it."""

    value: float
    """0 to 1; it never falls."""
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


class Output(Struct, frozen=True, kw_only=True):
    """One thing that a job has made."""

    node_id: str
    name: str
    type: OutputType
    content_type: str
    size_bytes: int
    id: str
    """Of the asset; of what has none, an id by which the content route finds it in the job."""
    hash: str | None
    url: str
    url_expires_at: datetime
    job_id: str
    why: str | UnsetType = UNSET
    """Everfold's own: a word that says why it was not stored. Its content cannot be had then."""


class JobError(Struct, frozen=True, kw_only=True):
    """Why a job did not succeed."""

    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None


class JobUrls(Struct, frozen=True, kw_only=True):
    """Where a client goes on; absolute."""

    self: str
    events: str
    cancel: str
    logs: str


class JobAnswer(Struct, frozen=True, kw_only=True):
    """One job."""

    id: str
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    queue_position: int | None
    """1 for the job that is taken next; null for one that does not wait for a runner."""
    progress: Progress | None
    outputs: list[Output]
    error: JobError | None
    metrics: dict[str, int | None]
    metadata: dict[str, str]
    urls: JobUrls


class JobItem(Struct, frozen=True, kw_only=True):
    """One job of a list."""

    id: str
    status: str
    create_time: datetime
    update_time: datetime
    metadata: dict[str, str]


class JobPage(Struct, frozen=True, kw_only=True):
    """A page of jobs, the newest first."""

    jobs: list[JobItem]
    next_cursor: str | UnsetType = UNSET
    """Left out on the last page."""


class JobWorkflow(Struct, frozen=True, kw_only=True):
    """The graph of a job."""

    workflow: msgspec.Raw
    format: Literal["api", "save"]


class AssetAnswer(Struct, frozen=True, kw_only=True):
    """One stored file."""

    id: str
    hash: str | None
    size_bytes: int
    content_type: str
    file_path: str
    created_at: datetime
    url: str
    url_expires_at: datetime
    expires_at: datetime | None
    created_new: bool | UnsetType = UNSET
    job_id: str | UnsetType = UNSET


class StatusEvent(Struct, frozen=True, kw_only=True):
    """The status of a job has changed, or its position in the queue."""

    status: str
    queue_position: int | UnsetType = UNSET


class PreviewEvent(Struct, frozen=True, kw_only=True):
    """A picture of what is not done yet."""

    node_id: str
    content_type: str
    data_base64: str


class JobBody(Struct, frozen=True, kw_only=True):
    """What is sent to make a job."""

    workflow: msgspec.Raw
    extra_data: dict[str, object] | None = None
    metadata: object = None


class HashBody(Struct, frozen=True, kw_only=True):
    """What is sent to name bytes that are stored already."""

    hash: str
    file_path: str | None = None
    tags: list[str] | None = None


def moment(time_ms: int) -> datetime:
    """Return a time with its zone."""
    return EPOCH + timedelta(milliseconds=time_ms)
