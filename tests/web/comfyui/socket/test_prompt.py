"""What a client is told of one job, whatever of the backend's words is lost, late or repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.events.codec import encode
from everfold.streams.events.event import (
    Canceled,
    Claimed,
    Event,
    Failed,
    Failure,
    Lost,
    OutputSaved,
    Policy,
    Progressed,
    Queued,
    Recovered,
    Retried,
    Started,
    Submitted,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import (
    Began,
    Cached,
    LiveEntry,
    NodeBegan,
    NodeOutput,
    NodeState,
    NodeText,
    Preview,
    States,
    Steps,
    Streamed,
)
from everfold.web.comfyui.socket.frames import NodeWords, Picture, StoredPicture, Text
from everfold.web.comfyui.socket.prompt import Prompt, StatusDue, Told
from everfold.web.feeds.happening import Change, Happening

JOB = "job-1"
PROMPT = "11111111-2222-3333-4444-555555555555"
ENDS = ("execution_success", "execution_error", "execution_interrupted")

Said = tuple[str, dict[str, Any]]


def name(told: Told) -> Said:
    match told:
        case Text(text=text):
            message = json.loads(text)
            return message["type"], message["data"]
        case StatusDue():
            return "status", {}
        case Picture(preview=preview):
            return "preview", {"node": preview.node}
        case NodeWords(node=node):
            return "text", {"node": node}
        case StoredPicture(node=node):
            return "picture", {"node": node}


class Run:
    """A job, told event by event and word by word."""

    def __init__(self, job: Job | None = None) -> None:
        self.job = job or Job(job_id=JOB)
        self.prompt: Prompt | None = None
        self.told: list[Said] = []

    def say(self, *happened: Event | Streamed | Preview | tuple[int, Streamed]) -> Run:
        for one in happened:
            self.told += map(name, self._tell(one))
        return self

    def _tell(self, one: Event | Streamed | Preview | tuple[int, Streamed]) -> Sequence[Told]:
        happening: Happening
        if isinstance(one, Preview):
            happening = one
        elif isinstance(one, tuple):
            happening = LiveEntry(JOB, one[0], one[1], 5)
        elif isinstance(one, Streamed):
            happening = LiveEntry(JOB, max(1, self.job.attempt), one, 5)
        else:
            seq = self.job.seq + 1
            record = Recorded(f"{seq}-0", JOB, seq, 1, "0-0", one, encode(one))
            self.job = evolve(self.job, record)
            happening = Change(self.job, record)
        if self.prompt is None:
            self.prompt = Prompt(self.job, PROMPT)
            return []
        return self.prompt.tell(happening)

    @property
    def kinds(self) -> list[str]:
        return [
            f"{kind} {data['node']}" if kind in ("executing", "executed") else kind
            for kind, data in self.told
        ]


SUBMITTED = Submitted(
    kind="", user="", queue="default", priority="normal", workflow="0" * 64, metadata={},
    policy=Policy(),
)  # fmt: skip


def attempt(number: int) -> list[Event]:
    submitting = Submitting(
        attempt=number, backend="http://gpu", boot="b", prompt_id="p", client_id="c"
    )
    return [submitting, Queued(attempt=number, prompt_id="p")]


FILE: dict[str, object] = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
OTHER: dict[str, object] = {"images": [{"filename": "b.png", "subfolder": "x", "type": "output"}]}


def begun() -> Run:
    return Run().say(SUBMITTED, Claimed(owner="r"), *attempt(1))


def words() -> list[Streamed]:
    """What ComfyUI says of a run of three nodes, of which the last has an output."""
    done = NodeState(1, 1, True)
    return [
        Began(),
        Cached([]),
        States({"1": NodeState()}),
        NodeBegan("1"),
        States({"1": done}),
        States({"1": done, "2": NodeState()}),
        NodeBegan("2"),
        *(
            one
            for step in range(1, 5)
            for one in (States({"1": done, "2": NodeState(step, 4)}), Steps("2", step, 4))
        ),
        States({"1": done, "2": NodeState(4, 4, True)}),
        States({"1": done, "2": NodeState(4, 4, True), "3": NodeState()}),
        NodeBegan("3"),
        NodeOutput("3", output=FILE),
        States({"1": done, "2": NodeState(4, 4, True), "3": done}),
    ]


ORDER = [
    *("status", "execution_start", "execution_cached", "executing 1", "executing 2"),
    *("executing 3", "executed 3", "execution_success", "status", "executing None"),
]


def without_progress(run: Run) -> list[str]:
    return [kind for kind in run.kinds if not kind.startswith("progress")]


def test_a_run_is_told_in_comfyui_s_order() -> None:
    run = begun().say(*words(), Succeeded(attempt=1, outputs={"3": FILE}))
    assert without_progress(run) == ORDER
    executed = next(data for kind, data in run.told if kind == "executed")
    assert executed["output"]["images"] == [
        {"filename": "a.png", "subfolder": JOB, "type": "output"}
    ]
    states = [data for kind, data in run.told if kind == "progress_state"][-1]
    assert states["nodes"]["2"] == {
        "value": 4,
        "max": 4,
        "state": "finished",
        "node_id": "2",
        "prompt_id": PROMPT,
        "display_node_id": "2",
        "parent_node_id": None,
        "real_node_id": "2",
    }


def test_without_a_word_of_the_backend_the_log_tells_it() -> None:
    run = begun().say(
        Started(attempt=1),
        Progressed(attempt=1, value=0.2, nodes_done=1, nodes_total=3, node="2", step=1, steps=4),
        Progressed(attempt=1, value=0.4, nodes_done=1, nodes_total=3, node="2", step=2, steps=4),
        Succeeded(attempt=1, outputs={"3": FILE}),
    )
    assert run.kinds == [
        *("status", "execution_start", "execution_cached", "executing 2"),
        *("progress", "progress_state", "progress", "progress_state"),
        *("executing 3", "executed 3", "execution_success", "status", "executing None"),
    ]


def test_a_killed_runner_is_not_seen() -> None:
    said = words()
    taken = Recovered(owner="r2", previous_owner="r", crashes=1, idle_ms=1, reason="gone")
    first, rest = said[:10], said[8:]
    run = begun().say(*first, taken, NodeBegan("2"), *rest)
    run.say(Succeeded(attempt=1, outputs={"3": FILE}))
    assert without_progress(run) == ORDER


def test_a_second_attempt_is_the_same_run_to_the_client() -> None:
    said = words()
    lost = Lost(attempt=1, backend="http://gpu", cause="backend_restarted")
    retried = Retried(attempt=1, failure=Failure(code="x", message="x"), not_before_ms=0)
    run = begun().say(Started(attempt=1), *said[:12], lost, retried, *attempt(2), *said)
    run.say(Succeeded(attempt=2, outputs={"3": FILE}))
    assert without_progress(run) == ORDER
    values = [data["value"] for kind, data in run.told if kind == "progress"]
    assert values == sorted(set(values)), "progress never falls"


def test_a_later_attempt_s_other_output_is_told_too() -> None:
    run = begun().say(*words(), *attempt(2), *words()[:-2], NodeOutput("3", output=OTHER))
    run.say(Succeeded(attempt=2, outputs={"3": OTHER}))
    files = [d["output"]["images"][0]["subfolder"] for kind, d in run.told if kind == "executed"]
    assert files == [JOB, f"{JOB}/x"]


def test_what_an_earlier_attempt_says_late_counts_nothing() -> None:
    run = begun().say(*attempt(2), (1, NodeBegan("9")), (2, NodeBegan("1")))
    assert "executing 9" not in run.kinds
    assert "executing 1" in run.kinds


def test_pictures_that_a_node_sent_come_while_it_is_the_one_that_runs() -> None:
    sent = {"filename": "2_1.png", "subfolder": "", "type": "websocket"}
    stored = [{**sent, "hash": "blake3:1", "media_type": "image/png"}, {**sent, "stored": False}]
    run = begun().say(*words(), Succeeded(attempt=1, outputs={"2": {"images": stored}, "3": FILE}))
    assert run.kinds[-5:] == [
        *("executing 2", "picture", "execution_success", "status", "executing None"),
    ]
    assert "executed 2" not in run.kinds


def test_one_that_is_canceled_before_it_begins_leaves_a_status_only() -> None:
    assert begun().say(Canceled()).kinds == ["status"]


def test_one_that_is_interrupted_says_where() -> None:
    run = begun().say(*words()[:8], Canceled(attempt=1))
    kind, data = run.told[-3]
    assert (kind, data["node_id"]) == ("execution_interrupted", "2")
    assert run.kinds[-2:] == ["status", "executing None"]


def test_one_that_fails_before_it_begins_says_so() -> None:
    failed = Failed(failure=Failure(code="invalid_workflow", message="no"))
    assert begun().say(failed).kinds == ["execution_error", "status", "executing None"]


def test_one_who_comes_late_is_told_where_the_run_is() -> None:
    run = begun().say(*words()[:12])
    assert run.prompt
    told = [name(one) for one in run.prompt.present()]
    assert [kind for kind, _ in told] == ["executing", "progress_state"]
    assert told[0][1] == {"node": "2", "display_node": "2", "prompt_id": PROMPT}
    assert set(told[1][1]["nodes"]) == {"1", "2"}


def test_a_gateway_that_comes_late_tells_the_rest() -> None:
    before = begun().say(
        Started(attempt=1),
        Progressed(attempt=1, value=0.2, nodes_done=1, nodes_total=3, node="2", step=1, steps=4),
        OutputSaved(attempt=1, node="1", output=FILE),
    )
    late = Run(before.job)
    late.prompt = Prompt(before.job, PROMPT)
    assert [name(one)[0] for one in late.prompt.present()] == ["executing", "progress_state"]
    late.say(*words()[8:], Succeeded(attempt=1, outputs={"1": FILE, "3": FILE}))
    assert without_progress(late) == ORDER[5:]


def test_texts_and_previews_go_to_who_waits_for_them() -> None:
    picture = Preview("2", "image/png", b"x")
    run = begun().say(picture, *words()[:8], NodeText("2", "hello"), picture)
    assert run.kinds[-2:] == ["text", "preview"]
    assert run.kinds.count("preview") == 1, "none before the beginning"


def test_a_preview_that_comes_after_its_node_has_ended_is_dropped() -> None:
    late = Preview("2", "image/png", b"x")
    ended = States({"2": NodeState(4, 4, is_finished=True)})

    assert "preview" not in begun().say(NodeBegan("2"), ended, late).kinds
    assert "preview" not in begun().say(NodeBegan("2"), NodeBegan("3"), late).kinds
    assert "preview" in begun().say(NodeBegan("2"), late).kinds


LIVE = st.sampled_from(
    [*words(), NodeText("2", "x"), NodeOutput("1", output=None), Steps("", 1, 4)]
)
LOGGED: list[Event] = [
    Started(attempt=1),
    Progressed(attempt=1, value=0.2, nodes_done=1, nodes_total=3, node="1", step=1, steps=4),
    Progressed(attempt=1, value=0.4, nodes_done=1, nodes_total=3, node="2", step=2, steps=4),
    Progressed(attempt=2, value=0.3, nodes_done=1, nodes_total=3, node="2", step=1, steps=4),
    OutputSaved(attempt=1, node="3", output=FILE),
    OutputSaved(attempt=2, node="3", output=OTHER),
    Claimed(owner="r2"),
    Recovered(owner="r2", previous_owner="r", crashes=1, idle_ms=1, reason="gone"),
    Lost(attempt=1, backend="b", cause="backend_restarted"),
    *attempt(2),
]
MIDDLE = st.lists(
    st.one_of(LIVE, st.tuples(st.integers(1, 2), LIVE), st.sampled_from(LOGGED)), max_size=40
)
LAST: list[Event] = [
    Succeeded(attempt=2, outputs={"1": FILE, "3": OTHER}),
    Failed(attempt=2, failure=Failure(code="execution_error", message="x", node="2")),
    Canceled(attempt=2),
]


@given(MIDDLE, st.sampled_from(LAST), MIDDLE)
def test_whatever_is_lost_late_or_repeated_the_order_holds(
    middle: list[Any], last: Event, after: list[Any]
) -> None:
    run = begun().say(*middle, last)
    length = len(run.told)
    run.say(*after)
    assert len(run.told) == length, "nothing after the end"

    kinds = [kind for kind, _ in run.told]
    starts = [at for at, kind in enumerate(kinds) if kind == "execution_start"]
    cached = [at for at, kind in enumerate(kinds) if kind == "execution_cached"]
    ends = [at for at, kind in enumerate(kinds) if kind in ENDS]
    nothing = [at for at, one in enumerate(run.kinds) if one == "executing None"]
    assert len(starts) == len(cached) <= 1
    assert len(ends) == len(nothing)
    assert len(ends) == (1 if starts or not isinstance(last, Canceled) else 0)
    if starts:
        assert [*starts, *cached] == [1, 2]
        assert kinds[0] == "status"
    if ends:
        assert kinds[-3:] == [kinds[ends[0]], "status", "executing"]
    assert kinds.count("status") == len(starts) + 1
    began = set[str]()
    for kind, data in run.told:
        if kind == "executing":
            began.add(data["node"])
        elif kind == "progress":
            assert data["node"] in began
    outputs = [(d["node"], json.dumps(d["output"])) for kind, d in run.told if kind == "executed"]
    assert len(outputs) == len(set(outputs))
    if isinstance(last, Succeeded):
        assert {"1", "3"} <= {node for node, _ in outputs}
    assert all(data.get("prompt_id", PROMPT) == PROMPT for _, data in run.told)


@given(st.sets(st.integers(0, len(words()) - 1)))
def test_whatever_words_are_missing_the_client_gets_the_outputs_and_the_end(
    lost: set[int],
) -> None:
    heard = [one for at, one in enumerate(words()) if at not in lost]
    run = begun().say(*heard, Succeeded(attempt=1, outputs={"3": FILE}))
    told = without_progress(run)
    nodes = {"executing 1", "executing 2"}
    assert [kind for kind in told if kind not in nodes] == [k for k in ORDER if k not in nodes]
    assert told == [kind for kind in ORDER if kind in told]
