"""A job's state: the result of folding its events.

Rule: pure. The words for `status` are those of the Comfy API v2. A terminal status never changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from everfold.streams.border.plain import Plain
from everfold.streams.events.event import AssetInput, Failure, NodeProblem, Outputs, Policy

if TYPE_CHECKING:
    from everfold.projector.job.words import AttemptState, Priority, Status
else:  # a state that a newer version has stored can be read whatever words it has
    AttemptState = Priority = Status = str

OPEN_STATUSES: tuple[Status, ...] = ("queued", "running", "canceling")
TERMINAL_STATUSES: tuple[Status, ...] = ("succeeded", "failed", "canceled", "expired")
STATUSES = (*OPEN_STATUSES, *TERMINAL_STATUSES)


class Job(Plain, Struct, frozen=True, kw_only=True, gc=False):
    """A job's state after one of its events.

    All times are Unix milliseconds of the server; 0 means that it has not happened.
    """

    job_id: str = ""
    status: Status = "queued"
    reason: str = ""
    """Why it has this status: a word such as drain, backend_lost or stale, or a sentence."""

    kind: str = ""
    user: str = ""
    queue: str = "default"
    priority: Priority = "normal"
    metadata: dict[str, object] = {}
    workflow: str = ""
    """SHA-256 of the submitted graph."""
    body: str = ""
    """SHA-256 of the graph and its extra_data together, empty without any."""
    partner_keys: tuple[str, ...] = ()
    """Names of the keys for partner nodes that were given with the job."""
    policy: Policy = Policy()
    idempotency_key: str = ""
    batch: str = ""
    """Name that many jobs share, to be listed, waited for and canceled together."""
    tags: tuple[str, ...] = ()
    rerun_of: str = ""
    """The job that this one runs again."""
    needs: tuple[str, ...] = ()
    """Labels that a backend must have to run it."""
    inputs: dict[str, AssetInput] = {}
    """Place in the graph, such as 10.image -> the file that is sent to the server for it."""
    trace: str = ""
    """W3C traceparent: the id of the trace that tells of it, and a span in that; empty without."""
    callback: str = ""
    """Host of the URL that is told of its end; the whole URL is in no state."""
    run_at_ms: int = 0
    """It is not started before this time; after a retry, the time of the next attempt."""

    backend: str = ""
    boot: str = ""
    """Boot marker of the backend when the attempt was submitted."""
    server: str = ""
    """Identity of the backend's server, empty where it has none."""
    refused_by: tuple[str, ...] = ()
    """Backends that cannot run this graph, by name."""
    attempt: int = 0
    """The newest attempt, from 1; 0 before the first."""
    attempt_state: AttemptState = ""
    """Empty (none yet), intended (POST not confirmed), accepted or over."""
    stopping: str = ""
    """Why the runner is stopping the attempt, empty while it is not."""
    prompt_id: str = ""
    client_id: str = ""
    number: int = -1
    """ComfyUI's queue counter for the attempt, -1 unknown."""

    owner: str = ""
    """The runner that has the lease, empty while nobody has it."""
    epoch: int = 0

    submitted_at_ms: int = 0
    claimed_at_ms: int = 0
    recovered_at_ms: int = 0
    submitting_at_ms: int = 0
    queued_at_ms: int = 0
    started_at_ms: int = 0
    cancel_requested_at_ms: int = 0
    stopping_at_ms: int = 0
    """When the stop of the present attempt was first intended."""
    lost_at_ms: int = 0
    """When an attempt was last lost."""
    unconfirmed_since_ms: int = 0
    """When the first of the `unconfirmed` attempts was lost."""
    ended_at_ms: int = 0
    updated_at_ms: int = 0
    """Time of the last event."""
    idle_ms: int = 0
    """How long the lease was not renewed before the last recovery, in ms."""

    progress: float = 0.0
    """0 to 1; never falls."""
    nodes_done: int = 0
    nodes_total: int = 0
    node: str = ""
    node_class: str = ""
    step: int = 0
    steps: int = 0
    left_s: int = 0
    """Seconds that the run was expected to take still when it last showed progress; 0 where that
    is not known."""

    outputs: Outputs = {}
    outputs_reused: bool = False
    problems: list[NodeProblem] = []
    """Outputs that ComfyUI refused although it accepted the rest of the graph."""
    executed: tuple[str, ...] = ()
    """Nodes of the last attempt that were executed, as far as was seen."""
    cached: tuple[str, ...] = ()
    """Nodes of the last attempt whose results came from the backend's cache."""
    error: Failure | None = None
    """Why it failed, or why the last attempt did."""

    recovered: int = 0
    """How often a runner took the job over from one that was taken for dead."""
    released: int = 0
    """How often a runner released the job on purpose."""
    broken: int = 0
    """How often a runner released the job after an unexpected error of its own."""
    retried: int = 0
    """New attempts after an earlier one had ended badly."""
    crashes_in_a_row: int = 0
    """Runners that died over the job, or fell over it, since it last moved at a backend."""
    losses: int = 0
    """Attempts that had started and that a backend forgot."""
    unconfirmed: int = 0
    """Attempts in a row that were lost before they had started."""
    abandoned: int = 0
    """Attempts given up on a backend that could not be asked: their prompts may still have run."""

    rewound: int = 0
    """How often the server lost acknowledged events of this job."""

    seq: int = 0
    """Sequence number of the last event folded."""
    entry_id: str = "0-0"
    """Entry id of that event in the log."""

    unreadable_seq: int = 0
    """The first event that could not be read: what it and the events after it changed is missing
    here. 0 for a state that is whole, as every stored one is."""

    @property
    def stored(self) -> str:
        """SHA-256 under which its graph is stored, with its extra_data if it has any."""
        return self.body or self.workflow

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended: nothing but its position in the log can change."""
        return self.status in TERMINAL_STATUSES

    def left_at_s(self, now_ms: float) -> int:
        """Return the seconds that the run is expected to take still at this server time, at least
        1; 0 where that is not known."""
        since_s = max(0.0, (now_ms - self.updated_at_ms) / 1000)
        return max(1, round(self.left_s - since_s)) if self.left_s else 0

    @property
    def may_be_alive(self) -> bool:
        """Whether its newest attempt may still run, or be about to, at its backend."""
        return self.attempt > 0 and self.attempt_state in ("intended", "accepted")

    @property
    def is_canceling(self) -> bool:
        """Whether a cancel was requested and the job has not ended yet."""
        return self.cancel_requested_at_ms > 0 and not self.is_terminal
