"""The tables of the SQL sink: one row per job, and on request one per event.

Rule: columns are only added, and all can be NULL, so that adding the missing columns updates an
older table.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA_VERSION = 1
"""Raised when programs of an older version must no longer write."""

METADATA = MetaData()

_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_TIME = DateTime(timezone=True)

SCHEMA = Table("everfold_schema", METADATA, Column("version", Integer, primary_key=True))

JOBS = Table(
    "everfold_jobs",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("generation", Text),
    Column("seq", BigInteger),
    Column("rewound", Integer),
    Column("status", Text),
    Column("reason", Text),
    Column("kind", Text),
    Column("user_id", Text),
    Column("queue", Text),
    Column("priority", Text),
    Column("prompt_id", Text),
    Column("backend", Text),
    Column("owner", Text),
    Column("attempt", Integer),
    Column("recovered", Integer),
    Column("retried", Integer),
    Column("progress", Double),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("outputs", _JSON),
    Column("metadata", _JSON),
    Column("workflow_sha256", Text),
    Column("idempotency_key", Text),
    Column("submitted_at", _TIME),
    Column("started_at", _TIME),
    Column("recovered_at", _TIME),
    Column("ended_at", _TIME),
    Column("updated_at", _TIME),
)
Index("everfold_jobs_by_user", JOBS.c.namespace, JOBS.c.user_id, JOBS.c.submitted_at)
Index("everfold_jobs_by_status", JOBS.c.namespace, JOBS.c.status, JOBS.c.updated_at)

EVENTS = Table(
    "everfold_events",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("entry_id", Text),
    Column("time", _TIME),
    Column("type", Text),
    Column("epoch", BigInteger),
    Column("actor", Text),
    Column("event", _JSON),
)
