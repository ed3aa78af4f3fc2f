"""A job's current state: what the fold of its events says.

Rule: pure. The words for `status` are those of the Comfy API v2; terminal ones are absorbing.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.events.event import Failure, NodeProblem, Outputs, Policy

OPEN_STATUSES = ("queued", "running", "canceling")
TERMINAL_STATUSES = ("succeeded", "failed", "canceled", "expired")
STATUSES = (*OPEN_STATUSES, *TERMINAL_STATUSES)


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """One job. All times are Unix milliseconds of the server, 0 where it did not happen yet."""

    job_id: str = ""
    status: str = "queued"
    reason: str = ""
    """Why it is in this status, in one word or sentence: drain, backend_lost, stale ..."""

    kind: str = ""
    user: str = ""
    queue: str = "default"
    priority: str = "normal"
    metadata: dict[str, object] = {}
    workflow: str = ""
    """SHA-256 of the submitted graph."""
    policy: Policy = Policy()
    idempotency_key: str = ""
    run_at_ms: int = 0
    """Not to be started before; after a retry, the time of the next attempt."""

    backend: str = ""
    boot: str = ""
    """Boot marker of the backend when the attempt was submitted."""
    attempt: int = 0
    """The newest attempt, from 1; 0 before the first."""
    attempt_state: str = ""
    """"" none yet, intended (POST not confirmed), accepted, over."""
    stopping: str = ""
    """Why the attempt is being stopped by us, empty while it is not."""
    prompt_id: str = ""
    client_id: str = ""
    number: int = -1
    """ComfyUI's queue counter for the attempt, -1 unknown."""

    owner: str = ""
    """The runner that holds the lease, empty while nobody does."""
    epoch: int = 0

    submitted_at_ms: int = 0
    claimed_at_ms: int = 0
    recovered_at_ms: int = 0
    submitting_at_ms: int = 0
    queued_at_ms: int = 0
    started_at_ms: int = 0
    cancel_requested_at_ms: int = 0
    ended_at_ms: int = 0
    updated_at_ms: int = 0
    """Time of the last event."""
    idle_ms: int = 0
    """How long the lease had not been renewed when the job was last recovered."""

    progress: float = 0.0
    """0 to 1; never falls."""
    nodes_done: int = 0
    nodes_total: int = 0
    node: str = ""
    node_class: str = ""
    step: int = 0
    steps: int = 0

    outputs: Outputs = {}
    outputs_reused: bool = False
    problems: list[NodeProblem] = []
    """Outputs that ComfyUI refused although it accepted the rest of the graph."""
    error: Failure | None = None
    """Why it failed, or why the last attempt did."""

    recovered: int = 0
    """How often another runner took the job over from one taken for dead."""
    released: int = 0
    """How often a runner handed it over on purpose."""
    broken: int = 0
    """How often a runner gave the job up because its work on it fell over an error."""
    retried: int = 0
    """New attempts after an earlier one had ended badly."""
    losses: int = 0
    """Accepted attempts that a backend forgot."""
    unconfirmed: int = 0
    """Attempts in a row that never began to run: not arrived, or taken back from an unhealthy
    backend."""

    rewound: int = 0
    """How often the server lost acknowledged events of this job."""

    seq: int = 0
    """Sequence number of the last event folded."""
    entry_id: str = "0-0"
    """Entry id of that event in the log."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def is_canceling(self) -> bool:
        return self.cancel_requested_at_ms > 0 and not self.is_terminal
