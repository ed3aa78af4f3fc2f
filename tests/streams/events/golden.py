"""What each golden file of tests/data/events says, stated once more by hand, in today's shape."""

from __future__ import annotations

from everfold.streams.events import event as events

ID = "018f3c5e-0000-7000-8000-000000000001"
ACTOR = "gpu-1"
PROMPT = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
IMAGES: dict[str, object] = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
PROBLEM = events.NodeProblem(
    node="2",
    node_class="ImageScale",
    code="value_not_in_list",
    message="Value not in list",
    input="upscale_method",
)
FAILURE = events.Failure(
    code="out_of_memory",
    message="no room",
    node="3",
    node_class="KSampler",
    retryable=True,
    details=[PROBLEM],
)
POLICY = events.Policy(
    retries=2,
    retry_backoff_s=5.0,
    recovery_max_age_s=600.0,
    crash_limit=3,
    queue_deadline_s=60.0,
)

STATED: dict[str, events.Event] = {
    "job.submitted.v1": events.Submitted(
        id=ID,
        actor=ACTOR,
        kind="portrait",
        user="ada",
        queue="default",
        priority="high",
        workflow="ab" * 32,
        metadata={"shop": 7, "tags": ["a"]},
        policy=POLICY,
        run_at_ms=1795405758900,
        idempotency_key="order-17",
    ),
    "job.claimed.v1": events.Claimed(id=ID, actor=ACTOR, owner="gpu-1"),
    "job.recovered.v1": events.Recovered(
        id=ID,
        actor=ACTOR,
        owner="gpu-2",
        previous_owner="gpu-1",
        crashes=1,
        idle_ms=1234,
        reason="connection_gone",
    ),
    "job.submitting.v1": events.Submitting(
        id=ID,
        actor=ACTOR,
        attempt=1,
        backend="http://gpu:8188",
        boot="boot-1.txt",
        prompt_id=PROMPT,
        client_id="c1",
    ),
    "job.queued.v1": events.Queued(
        id=ID, actor=ACTOR, attempt=1, prompt_id=PROMPT, number=7, problems=[PROBLEM]
    ),
    "job.started.v1": events.Started(id=ID, actor=ACTOR, attempt=1),
    "job.progressed.v1": events.Progressed(
        id=ID,
        actor=ACTOR,
        attempt=1,
        value=0.25,
        nodes_done=1,
        nodes_total=4,
        node="3",
        node_class="KSampler",
        step=5,
        steps=20,
    ),
    "job.output_saved.v1": events.OutputSaved(
        id=ID, actor=ACTOR, attempt=1, node="4", output=IMAGES
    ),
    "job.cancel_requested.v1": events.CancelRequested(id=ID, actor=ACTOR, reason="changed my mind"),
    "job.released.v1": events.Released(id=ID, actor=ACTOR, reason="drain"),
    "job.stopping.v1": events.Stopping(id=ID, actor=ACTOR, attempt=1, why="stalled"),
    "job.lost.v1": events.Lost(
        id=ID, actor=ACTOR, attempt=1, backend="http://gpu:8188", cause="backend_restarted"
    ),
    "job.retried.v1": events.Retried(
        id=ID, actor=ACTOR, attempt=1, failure=FAILURE, not_before_ms=1795405768900
    ),
    "job.rewound.v1": events.Rewound(id=ID, actor=ACTOR, seen_seq=9, found_seq=4),
    "job.succeeded.v1": events.Succeeded(
        id=ID,
        actor=ACTOR,
        attempt=1,
        outputs={"4": IMAGES},
        outputs_reused=True,
        started_at_ms=1,
        ended_at_ms=2,
    ),
    "job.failed.v1": events.Failed(
        id=ID, actor=ACTOR, failure=FAILURE, attempt=2, started_at_ms=1, ended_at_ms=2
    ),
    "job.canceled.v1": events.Canceled(id=ID, actor=ACTOR, reason="changed my mind", attempt=1),
    "job.expired.v1": events.Expired(id=ID, actor=ACTOR, reason="stale"),
}
