"""Random valid histories of a job, and the log entries that hold them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from msgspec import UNSET

from everfold.streams.events import event as events
from everfold.streams.events.codec import encode
from everfold.streams.events.record import NO_ENTRY, Recorded

FAILURE = events.Failure(code="execution_error", message="boom", node="2", node_class="KSampler")

SUBMITTED = events.Submitted(
    kind="portrait",
    user="ada",
    queue="default",
    priority="normal",
    workflow="0" * 64,
    metadata={"shop": 7},
    policy=events.Policy(),
)

_attempts = st.integers(1, 3)

MIDDLE: st.SearchStrategy[events.Event] = st.one_of(
    st.builds(events.Claimed, owner=st.sampled_from(["r1", "r2"])),
    st.builds(
        events.Recovered,
        owner=st.just("r2"),
        previous_owner=st.just("r1"),
        crashes=st.integers(1, 3),
        idle_ms=st.integers(0, 20_000),
        reason=st.sampled_from(["lease_expired", "connection_gone"]),
    ),
    st.builds(
        events.Submitting,
        attempt=_attempts,
        backend=st.just("http://gpu"),
        boot=st.just("boot-1"),
        prompt_id=st.uuids().map(str),
        client_id=st.just("c"),
    ),
    st.builds(events.Queued, attempt=_attempts, prompt_id=st.just("p"), number=st.integers(0, 99)),
    st.builds(events.Started, attempt=_attempts),
    st.builds(events.Stopping, attempt=_attempts, why=st.sampled_from(["stalled", "run_deadline"])),
    st.builds(
        events.Progressed,
        attempt=_attempts,
        value=st.floats(0, 1),
        nodes_done=st.integers(0, 9),
        nodes_total=st.just(9),
        node=st.sampled_from(["1", None]),
        left_s=st.sampled_from([UNSET, 1, 90]),
    ),
    st.builds(
        events.OutputSaved,
        attempt=_attempts,
        node=st.sampled_from(["3", "4"]),
        output=st.just({"images": [{"filename": "a.png"}]}),
    ),
    st.builds(events.CancelRequested, reason=st.sampled_from(["", "changed my mind"])),
    st.builds(events.Released, reason=st.sampled_from(["drain", "broken"])),
    st.builds(
        events.Lost,
        attempt=_attempts,
        backend=st.just("http://gpu"),
        cause=st.sampled_from(["backend_restarted", "never_arrived"]),
    ),
    st.builds(
        events.Retried,
        attempt=_attempts,
        failure=st.just(FAILURE),
        not_before_ms=st.integers(0, 10**12),
    ),
    st.builds(events.Rewound, seen_seq=st.integers(2, 9), found_seq=st.just(1)),
)

ENDINGS: st.SearchStrategy[events.Event] = st.one_of(
    st.builds(events.Succeeded, attempt=_attempts, outputs=st.just({"3": {"images": []}})),
    st.builds(events.Failed, attempt=_attempts, failure=st.just(FAILURE)),
    st.builds(events.Canceled, reason=st.just("")),
    st.builds(events.Expired, reason=st.just("stale")),
)


@st.composite
def histories(draw: st.DrawFn) -> list[events.Event]:
    """Draw a job's events: submitted, anything, and perhaps an end."""
    middle = draw(st.lists(MIDDLE, max_size=12))
    ending = draw(st.lists(ENDINGS, max_size=1))
    return [SUBMITTED, *middle, *ending]


def records_of(history: Sequence[events.Event], job_id: str = "job") -> list[Recorded]:
    """Return the entries that a log would hold, one millisecond apart."""
    found: list[Recorded] = []
    previous, epoch = NO_ENTRY, 0
    for seq, event in enumerate(history, 1):
        epoch += isinstance(event, events.Claimed | events.Recovered)
        entry_id = f"{1_000_000 + seq}-0"
        found.append(
            Recorded(
                entry_id=entry_id,
                job_id=job_id,
                seq=seq,
                epoch=epoch,
                previous=previous,
                event=event,
                payload=encode(event),
            )
        )
        previous = entry_id
    return found
