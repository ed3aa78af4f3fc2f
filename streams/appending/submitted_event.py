"""Makes the first event of a job of what a caller gives.

Rule: pure. Each argument is checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import UNSET

from everfold.streams.events.checks import (
    check_choice,
    check_job,
    check_metadata,
    check_name,
    check_needs,
    check_tags,
    check_text,
)
from everfold.streams.events.event import Policy, Submitted
from everfold.streams.events.policies import check_policy
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.keys import PRIORITIES


def submitted_event(
    sha256: str,
    *,
    kind: str,
    user: str,
    metadata: Mapping[str, object] | None,
    idempotency_key: str | None,
    queue: str,
    priority: str,
    run_at_ms: int | None,
    policy: Policy | None,
    batch: str,
    tags: Collection[str],
    rerun_of: str,
    needs: Collection[str],
) -> Submitted:
    """Return the event; `sha256` is that of the graph. Raises InvalidName or TooLarge."""
    check_number("run_at_ms", run_at_ms)
    return Submitted(
        kind=check_text("kind", kind),
        user=check_text("user", user),
        queue=check_name("queue", queue),
        priority=check_choice("priority", priority, PRIORITIES),
        workflow=sha256,
        metadata=check_metadata({} if metadata is None else metadata),
        policy=check_policy(policy) if policy is not None else Policy(),
        run_at_ms=run_at_ms,
        idempotency_key=idempotency_key,
        batch=check_name("batch", batch) if batch != "" else UNSET,
        tags=check_tags(tags) or UNSET,
        rerun_of=check_job(rerun_of) if rerun_of != "" else UNSET,
        needs=check_needs(needs) or UNSET,
    )
