"""The names under which the index of a partition has a job: `user=ada`, `status=failed`, ...

Rule: pure. What is selected by a name is checked against the job's state again, so a name may stand
for more than one value: one that is long, or cannot be printed, is shortened to a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from everfold.projector.job.job import Job
from everfold.streams.events.limits import ID_LIMIT, TAGS_LIMIT

INDEX_VERSION = "1"
"""Changes when jobs get other names than before: an index of earlier names is not read."""


def names_of(job: Job, metadata_keys: Sequence[str] = ()) -> list[str]:
    """Return all names of a job; of its metadata those keys have one that are named here."""
    return list(dict.fromkeys(_names(job, metadata_keys)))


def _names(job: Job, metadata_keys: Sequence[str]) -> Iterator[str]:
    yield index_name("status", job.status)
    yield index_name("queue", job.queue)
    for what, value in (("user", job.user), ("kind", job.kind), ("code", code_of(job))):
        if value:
            yield index_name(what, value)
    if job.batch:
        yield index_name("batch", job.batch)
        yield batch_status(job.batch, job.status)
    for tag in job.tags[:TAGS_LIMIT]:
        yield index_name("tag", tag)
    for key in metadata_keys:
        if key in job.metadata:
            yield index_name(f"metadata.{key}", text_of(job.metadata[key]))


def index_name(what: str, value: str) -> str:
    """Return the name of all jobs that have this value."""
    if len(value) > ID_LIMIT or not value.isprintable():
        digest = hashlib.sha256(value.encode(errors="surrogatepass"))
        value = f"sha256:{digest.hexdigest()[:32]}"
    return f"{what}={value}"


def batch_status(batch: str, status: str) -> str:
    """Return the name of a batch's jobs of one status, by which they are counted."""
    return index_name("batch_status", f"{batch} {status}")


def text_of(value: object) -> str:
    """Return a value of the metadata as lists select it: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def code_of(job: Job) -> str:
    """Return why a job failed or expired, as a word for programs; empty for all others."""
    if job.status == "failed":
        return job.error.code if job.error is not None else ""
    return job.reason if job.status == "expired" else ""


def entry_of(job: Job, metadata_keys: Sequence[str] = ()) -> str:
    """Return a job's entry of `indexed`: `o`, or `e` and the time of its end, then its names."""
    at = f"e{job.updated_at_ms:016d}" if job.is_terminal else "o"
    return "\n".join((at, *names_of(job, metadata_keys)))


def members_of(job_id: str, entry: str) -> list[bytes]:
    """Return the members of the index that an entry stands for, as index_jobs.lua makes them."""
    at, *names = entry.split("\n")
    named = (f"{name}\n{at}\n{job_id}".encode() for name in names)
    return [b"#" + job_id.encode(), b"$" + job_id.encode()[::-1], *named]
