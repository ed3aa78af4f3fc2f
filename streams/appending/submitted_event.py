"""Makes the first event of a job of what a caller gives.

Rule: pure. Each argument is checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import UNSET, Struct

from everfold.streams.appending.body import Given, PartnerKeys
from everfold.streams.border.sealed_form import SEALED, is_sealed
from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import (
    check_callback,
    check_choice,
    check_idempotency_key,
    check_inputs,
    check_job,
    check_metadata,
    check_name,
    check_needs,
    check_tags,
    check_text,
)
from everfold.streams.events.event import AssetInput, Policy, Submitted
from everfold.streams.events.policies import check_policy
from everfold.streams.events.workflow_check import CheckedWorkflow
from everfold.streams.redis.keys import PRIORITIES


class JobRequest(Struct, frozen=True, kw_only=True):
    """The arguments of one submit, unchecked; what they mean is told by `Log.submit`."""

    workflow: object
    kind: str = ""
    user: str = ""
    metadata: Mapping[str, object] | None = None
    idempotency_key: str | None = None
    job_id: str | None = None
    queue: str = "default"
    priority: str = "normal"
    run_at_ms: int | None = None
    delay_s: float | None = None
    policy: Policy | None = None
    batch: str = ""
    tags: Collection[str] = ()
    rerun_of: str = ""
    needs: Collection[str] = ()
    extra_data: Mapping[str, object] | None = None
    partner_keys: PartnerKeys | None = None
    inputs: Mapping[str, AssetInput] | None = None
    traceparent: str | None = None
    callback: str = ""


def submitted_event(
    request: JobRequest,
    graph: CheckedWorkflow,
    stored: CheckedWorkflow,
    given: Given,
    run_at_ms: int | None,
) -> Submitted:
    """Return the event; `stored` is the graph with the extra_data that was `given`, if any.

    Raises InvalidName or TooLarge.
    """
    metadata, policy, tags = request.metadata, request.policy, request.tags
    return Submitted(
        kind=check_text("kind", request.kind),
        user=check_text("user", request.user),
        queue=check_name("queue", request.queue),
        priority=check_choice("priority", request.priority, PRIORITIES),
        workflow=graph.sha256,
        metadata=_metadata({} if metadata is None else metadata),
        policy=check_policy(policy) if policy is not None else Policy(),
        run_at_ms=run_at_ms,
        idempotency_key=check_idempotency_key(request.idempotency_key),
        batch=check_name("batch", request.batch) if request.batch != "" else UNSET,
        tags=check_tags(tags) or UNSET,
        rerun_of=check_job(request.rerun_of) if request.rerun_of != "" else UNSET,
        needs=check_needs(request.needs) or UNSET,
        body=UNSET if stored is graph else stored.sha256,
        partner_keys=sorted(given.partner_keys) or UNSET,
        inputs=check_inputs({} if request.inputs is None else request.inputs) or UNSET,
        callback=check_callback(request.callback) or UNSET,
    )


def _metadata(metadata: object) -> dict[str, object]:
    found = check_metadata(metadata)
    if is_sealed(found):
        raise InvalidName("metadata", SEALED, "this name is for what Everfold seals itself")
    return found
