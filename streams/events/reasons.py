"""The words for programs in events: why an attempt or a job ended, stopped, waits or was released.

Rule: pure. Whatever Everfold writes into these fields stands here, and docs/REASONS.md explains
each; a log may have others, of another version or program.
"""

from __future__ import annotations

from typing import Literal

FailureCode = Literal[
    "invalid_workflow",
    "submit_rejected",
    "execution_error",
    "out_of_memory",
    "unreadable_outputs",
    "workflow_gone",
    "partner_keys_expired",
    "input_gone",
    "backend_lost",
    "interrupted",
    "run_deadline",
    "stalled",
    "poisoned",
    "outputs_lost",
]
"""`failure.code` of `failed` and `retried`."""

LostCause = Literal[
    "backend_restarted",
    "deleted_there",
    "never_arrived",
    "backend_unhealthy",
    "backend_retired",
    "backend_gone",
    "given_up",
    "refused",
    "turned_away",
]
"""`cause` of `lost`."""

ReleaseReason = Literal[
    "drain", "no_room", "broken", "cannot_reach", "cannot_read", "cannot_run", "postponed"
]
"""`reason` of `released`."""

StopReason = Literal[
    "stalled", "run_deadline", "expired", "backend_unhealthy", "backend_retired", "poisoned"
]
"""`why` of `stopping`. Older logs alone have `poisoned`."""

ExpiryReason = Literal["stale", "queue_deadline", "unreadable"]
"""`reason` of `expired`."""

RecoveryReason = Literal["lease_expired", "connection_gone"]
"""`reason` of `recovered`."""
