"""What happened to a job, as frozen values: the language of the log.

Rule: no clock, no randomness, no I/O, and no field ever changes its meaning; a new meaning is a
new schema version with an upcast (codec.py). Unknown fields are ignored, so a new field with a
default is a compatible change. The time of an event is the time of its log entry.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

Outputs = dict[str, dict[str, object]]
"""What ComfyUI reported per output node: node id -> its `ui` value, such as {"images": [...]}."""


ON_HOST = "host "
"""Before the name of a host that stands for the server at its loopback address."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why an attempt or a job failed, in words for people and a code for programs."""

    code: str
    """Stable word for programs: a FailureCode of reasons.py, such as execution_error."""
    message: str
    node: str | None = None
    node_class: str | None = None
    retryable: bool = False
    details: list[NodeProblem] = []
    exception_type: str | UnsetType = UNSET
    """Class of the exception that a node raised, such as RuntimeError."""
    traceback: str | UnsetType = UNSET
    """Where it was raised: the end of it, without what looks like a secret."""
    executed: tuple[str, ...] | UnsetType = UNSET
    """Nodes of the attempt that had been executed, in order, as far as the backend tells."""
    cached: tuple[str, ...] | UnsetType = UNSET
    """Nodes whose results came from the backend's cache."""


class NodeProblem(Struct, frozen=True, kw_only=True):
    """One complaint of ComfyUI's validation about one node."""

    node: str
    node_class: str
    code: str
    """ComfyUI's own error type, such as value_not_in_list."""
    message: str
    input: str | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """What may be done for a job when things go wrong. All times in seconds."""

    retries: int = 1
    """New attempts after a lost backend or a retryable failure."""
    retry_backoff_s: float = 5.0
    """Wait before the first retry of a failure; doubles with each further one."""
    recovery_max_age_s: float | None = None
    """A job whose runner died so long ago, and whose attempt is not alive at its backend, is not
    begun again but expired, reason `stale`. None begins it again whatever time went by. An attempt
    that lives there is followed, and one that ended there counts, at any age."""
    crash_limit: int = 3
    """A job that took down so many runners in a row, without any progress in between, is failed as
    poisoned. A prompt that lives at its backend is re-attached however often runners died."""
    queue_deadline_s: float | None = None
    """Longest time from submit to the start of execution; then expired, reason `queue_deadline`."""
    run_deadline_s: float | None = None
    """Longest run of one attempt; then it is interrupted and failed, code `run_deadline`."""
    stall_deadline_s: float | None = None
    """Longest silence of a running attempt; then it is interrupted and failed, code `stalled`."""
    backend_away_s: float | None = 600.0
    """An attempt whose backend nobody has reached for so long is lost, cause `backend_gone`. None
    waits for ever: only an operator, a cancel or a deadline ends the wait."""
    stop_within_s: float = 30.0
    """A cancel, a stop or a passed deadline that had no effect at the backend for so long ends the
    job all the same; its attempt is abandoned."""
    outputs: str = "collect"
    """What becomes of the files of its outputs. `collect`: they are stored before the job ends,
    and a file that cannot be is marked. `require`: the job succeeds only with all of them stored.
    `keep`: they stay where they are. A runner without a store keeps them for `collect`, too."""
    previews: str = "skip"
    """Whether temporary files, as PreviewImage writes them, count as outputs: skip or collect."""


class AssetInput(Struct, frozen=True, kw_only=True):
    """A stored file that an input of a job's graph stands for."""

    asset: str
    """Its id."""
    hash: str
    """`blake3:` and 64 hexadecimal digits of its bytes, which never change."""
    size_bytes: int
    media_type: str
    name: str
    """For people."""


class Fact(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """The envelope that all events share."""

    id: str = ""
    """UUIDv7, stamped on append; an append repeated with the same id is stored once."""
    actor: str = ""
    """Which runner or client says so; stamped on append."""
    v: int = 1
    """Schema version of this type."""
    trace: str | UnsetType = UNSET
    """W3C traceparent, when there is one."""
    ignorable: bool | UnsetType = UNSET
    """True where a program that does not know this type or version folds the job on without it."""


class Submitted(Fact, frozen=True, kw_only=True, tag="job.submitted"):
    """The job exists. Always its first event."""

    kind: str
    user: str
    queue: str
    priority: str
    workflow: str
    """SHA-256 of the submitted graph, in hex."""
    metadata: dict[str, object]
    policy: Policy
    run_at_ms: int | None = None
    """Not to be started before this Unix time."""
    idempotency_key: str | None = None
    batch: str | UnsetType = UNSET
    """Name that many jobs share, to be listed, waited for and canceled together."""
    tags: tuple[str, ...] | UnsetType = UNSET
    """Words of the caller's own, to list jobs by."""
    rerun_of: str | UnsetType = UNSET
    """The job that this one runs again."""
    needs: tuple[str, ...] | UnsetType = UNSET
    """Labels that a backend must have to run it, such as gpu:24gb; unset without any."""
    body: str | UnsetType = UNSET
    """SHA-256 of the graph and the `extra_data` that was given with it, as they are stored
    together; unset without any: then the graph is stored alone."""
    partner_keys: list[str] | UnsetType = UNSET
    """Names of the keys for partner nodes that were given; the keys themselves are in no event."""
    inputs: dict[str, AssetInput] | UnsetType = UNSET
    """Place in the graph, such as 10.image -> the file that is sent to the server for it."""
    callback: str | UnsetType = UNSET
    """URL that is told of the job's end; its path and query may be a secret."""

    @property
    def stored(self) -> str:
        """SHA-256 under which the graph is stored, with its extra_data if it has any."""
        return self.body or self.workflow


class Claimed(Fact, frozen=True, kw_only=True, tag="job.claimed"):
    """A runner took the waiting, or gracefully released, job: a new epoch begins."""

    owner: str


class Recovered(Fact, frozen=True, kw_only=True, tag="job.recovered"):
    """A runner took the job over from one that is taken for dead: a new epoch begins."""

    owner: str
    previous_owner: str
    crashes: int
    """How many runners this job has lost so far, this one included."""
    idle_ms: int
    """How long the lease had not been renewed."""
    reason: str
    """lease_expired, or connection_gone."""


class Submitting(Fact, frozen=True, kw_only=True, tag="job.submitting"):
    """The intent to POST an attempt, recorded before the POST."""

    attempt: int
    backend: str
    """Base URL of the ComfyUI server."""
    boot: str
    """Boot marker of the backend, by which a restart is told from a deletion."""
    prompt_id: str
    client_id: str
    server: str = ""
    """Identity found on the backend's server, by which another server at the same address is told
    from a restart; of one without, at a loopback address, `host` and its name; else empty."""
    uploads: dict[str, str] | UnsetType = UNSET
    """Place in the graph -> the name by which the server has the file for it."""


class Queued(Fact, frozen=True, kw_only=True, tag="job.queued"):
    """ComfyUI accepted the attempt."""

    attempt: int
    prompt_id: str
    number: int | None = None
    """ComfyUI's counter; None when the acceptance was found out later."""
    problems: list[NodeProblem] = []
    """Outputs that ComfyUI dropped although it accepted the rest (HTTP 200 with node_errors)."""


class Started(Fact, frozen=True, kw_only=True, tag="job.started"):
    """ComfyUI runs the attempt."""

    attempt: int


class Progressed(Fact, frozen=True, kw_only=True, tag="job.progressed"):
    """How far the attempt is. Coalesced to two a second; the last one is never lost."""

    attempt: int
    value: float
    """0 to 0.99 of the work; 1 is reached by `succeeded` only."""
    nodes_done: int
    nodes_total: int
    """Nodes that run: reachable from the outputs, less those answered from the cache."""
    node: str | None = None
    node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    left_s: int | UnsetType = UNSET
    """Seconds that the attempt is expected to run still, at least 1; absent where that is not
    known."""


class OutputSaved(Fact, frozen=True, kw_only=True, tag="job.output_saved"):
    """A node delivered outputs while the attempt still runs."""

    attempt: int
    node: str
    output: dict[str, object]


class CancelRequested(Fact, frozen=True, kw_only=True, tag="job.cancel_requested"):
    """Somebody wants the job to stop."""

    reason: str = ""


class Released(Fact, frozen=True, kw_only=True, tag="job.released"):
    """The runner gave the job up; whoever takes it next re-attaches."""

    reason: str
    """drain; no_room; broken when the runner's work on it fell over an error of its own;
    cannot_reach when another runner reaches the job's backend and this one does not; cannot_read
    when an event of the job is unknown to this runner; postponed when the next try waits;
    cannot_run when no backend of this runner has all that the job needs."""
    why: str | UnsetType = UNSET
    """What is missing, in words, where the reason is cannot_run."""


class Stopping(Fact, frozen=True, kw_only=True, tag="job.stopping"):
    """The intent to stop an attempt for our own reasons, recorded before the backend is told."""

    attempt: int
    why: str
    """stalled, run_deadline, expired, backend_unhealthy, or backend_retired; in older logs also
    poisoned."""


class Lost(Fact, frozen=True, kw_only=True, tag="job.lost"):
    """The backend has forgotten the attempt, or cannot be trusted with it any more."""

    attempt: int
    backend: str
    cause: str
    """backend_restarted, deleted_there, never_arrived, backend_unhealthy, backend_retired,
    backend_gone (nobody reached it for too long, or an operator retired it), given_up (an operator
    gave this attempt up), refused (the server cannot run this graph; others may), or turned_away
    (the server took no POST, as with a wrong password)."""
    abandoned: bool = False
    """True where the prompt may still run there: it is stopped when the backend is seen again."""
    failure: Failure | None = None
    """What the server said, for `refused`."""


class Retried(Fact, frozen=True, kw_only=True, tag="job.retried"):
    """The job goes back to wait; another attempt will follow."""

    attempt: int
    """The attempt that ended."""
    failure: Failure
    not_before_ms: int
    """Unix time before which the next attempt does not begin."""


class Rewound(Fact, frozen=True, kw_only=True, tag="job.rewound"):
    """The server had lost acknowledged events of this job; it goes on from what was left."""

    seen_seq: int
    """The sequence number that whoever tells this had seen acknowledged."""
    found_seq: int
    """The one that the log had when this was noticed; 0 where it did not know the job."""
    partition: int | UnsetType = UNSET
    at_ms: int | UnsetType = UNSET
    """When it was noticed, Unix time of the server."""
    lost_bytes: int | UnsetType = UNSET
    """Bytes that the new primary lacks of the one before, of all jobs; unset where nobody can
    tell."""


class Succeeded(Fact, frozen=True, kw_only=True, tag="job.succeeded"):
    """Terminal: ComfyUI's history says success."""

    attempt: int
    outputs: Outputs
    outputs_reused: bool = False
    """True when ComfyUI answered every output from its cache: no new file was written."""
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    executed: tuple[str, ...] | UnsetType = UNSET
    """Nodes that were seen to be executed; unset when nobody watched."""
    cached: tuple[str, ...] | UnsetType = UNSET
    """Nodes whose results came from the backend's cache."""


class Failed(Fact, frozen=True, kw_only=True, tag="job.failed"):
    """Terminal: no further attempt will be made."""

    failure: Failure
    attempt: int = 0
    outputs: Outputs = {}
    """What was saved before the failure; ComfyUI rolls nothing back."""
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    abandoned: bool = False
    """As in `lost`."""


class Canceled(Fact, frozen=True, kw_only=True, tag="job.canceled"):
    """Terminal: stopped on request, verified at the backend unless `abandoned`."""

    reason: str = ""
    attempt: int = 0
    outputs: Outputs = {}
    abandoned: bool = False
    """As in `lost`."""


class Expired(Fact, frozen=True, kw_only=True, tag="job.expired"):
    """Terminal: too late to be worth running."""

    reason: str
    """stale, queue_deadline, or unreadable."""
    abandoned: bool = False
    """As in `lost`."""


Event = (
    Submitted
    | Claimed
    | Recovered
    | Submitting
    | Queued
    | Started
    | Progressed
    | OutputSaved
    | CancelRequested
    | Released
    | Stopping
    | Lost
    | Retried
    | Rewound
    | Succeeded
    | Failed
    | Canceled
    | Expired
)

Terminal = Succeeded | Failed | Canceled | Expired

CLOSING_STATUS: dict[type[Terminal], str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Canceled: "canceled",
    Expired: "expired",
}
"""Status of a job after its terminal event. Terminal states are absorbing."""


def closing_status(event: Event) -> str:
    """Return the status that `event` closes its job with, or "" when the job stays open."""
    return CLOSING_STATUS.get(type(event), "")  # type: ignore[arg-type]  # a miss is the answer
