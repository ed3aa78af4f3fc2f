"""What is left of an event whose outputs or messages are too large for the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.errors import EventTooLarge
from everfold.streams.events.codec import decode, encode
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Event,
    Expired,
    Failed,
    Failure,
    Lost,
    NodeProblem,
    Outputs,
    OutputSaved,
    Queued,
    Released,
    Retried,
    Succeeded,
)
from everfold.streams.events.limits import EVENT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES
from everfold.streams.events.shortening import cut_output, cut_outputs
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events

pytestmark = pytest.mark.anyio

KIB, MIB = 1024, 1024 * 1024
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
IMAGES = [{"filename": "a.png", "subfolder": "x", "type": "output"}]


def size(value: object) -> int:
    return len(msgspec.json.encode(value))


def written(event: Event, limit: int = EVENT_LIMIT_BYTES) -> Event:
    """Return the event as it is read back."""
    payload = encode(event, limit)
    assert len(payload) <= limit
    found = decode(payload)
    assert isinstance(found, type(event))
    return found


def test_an_output_within_the_limit_stays_as_it_is() -> None:
    output: dict[str, object] = {"images": IMAGES, "text": ["x" * (200 * KIB)]}
    assert written(OutputSaved(attempt=1, node="9", output=output)) == OutputSaved(
        attempt=1, node="9", output=output
    )


@pytest.mark.parametrize("megabytes", [1, 8, 60])
def test_a_large_output_is_marked_and_keeps_its_files_and_its_small_values(megabytes: int) -> None:
    output: dict[str, object] = {"b64": ["A" * megabytes * MIB], "images": IMAGES, "text": ["hi"]}
    found = written(OutputSaved(attempt=1, node="9", output=output))
    assert cast("OutputSaved", found).output == {
        "images": IMAGES,
        "text": ["hi"],
        "everfold_truncated": True,
        "bytes": size(output),
    }


def test_pictures_within_a_list_of_files_are_left_out_and_the_references_stay() -> None:
    files = [{**IMAGES[0], "b64": "A" * MIB, "frame": n} for n in range(3)]
    found = cut_output({"gifs": files}, OUTPUT_LIMIT_BYTES)
    assert found["gifs"] == [{**IMAGES[0], "frame": n} for n in range(3)]
    assert found["everfold_truncated"] is True


def test_of_too_many_files_the_first_are_kept() -> None:
    files = [{"filename": f"{n:06}.png", "subfolder": "", "type": "output"} for n in range(20_000)]
    found = cut_output({"text": ["small"], "images": files}, OUTPUT_LIMIT_BYTES)
    kept = cast("list[object]", found["images"])
    assert kept == files[: len(kept)]
    assert 4000 < len(kept) < 20_000
    assert size(found) <= OUTPUT_LIMIT_BYTES


@pytest.mark.parametrize(
    "event",
    [Succeeded(attempt=1, outputs={}), Canceled(), Failed(failure=Failure(code="x", message="y"))],
    ids=lambda event: type(event).__name__,
)
def test_the_outputs_of_all_nodes_together_are_bounded(
    event: Succeeded | Canceled | Failed,
) -> None:
    outputs = {str(n): {"images": IMAGES, "text": ["x" * (100 * KIB)]} for n in range(30)}
    outputs["small"] = {"images": IMAGES, "text": ["y"]}
    after = cast("Succeeded", written(replace(event, outputs=outputs))).outputs
    assert after["small"] == outputs["small"]
    assert all(node["images"] == IMAGES for node in after.values())
    assert after.keys() == outputs.keys()


def test_more_nodes_than_marks_have_room_are_one_mark() -> None:
    outputs = {str(n): {"text": ["x" * 100]} for n in range(30_000)}
    found = cast("Succeeded", written(Succeeded(attempt=1, outputs=cast("Outputs", outputs))))
    assert found.outputs["everfold_truncated"]["everfold_truncated"] is True
    assert 5000 < len(found.outputs) < 30_000


LONG = "é" * 3 * MIB
PROBLEMS = [
    NodeProblem(node=str(n), node_class="K", code="x", message="m" * 900) for n in range(5000)
]
FAILURE = Failure(code="x", message=LONG, details=PROBLEMS)


@pytest.mark.parametrize(
    "event",
    [
        Failed(failure=FAILURE),
        Retried(attempt=1, failure=FAILURE, not_before_ms=0),
        Lost(attempt=1, backend="b", cause="refused", failure=FAILURE),
        Queued(attempt=1, prompt_id="p", problems=PROBLEMS),
        Canceled(reason=LONG),
        Expired(reason=LONG),
    ],
    ids=lambda event: type(event).__name__,
)
def test_messages_and_problems_are_shortened(event: Event) -> None:
    assert "left out" in str(written(event)) or isinstance(event, Queued)


@pytest.mark.parametrize("event", [CancelRequested(reason=LONG), Released(reason=LONG)])
def test_what_cannot_be_shortened_is_refused(event: Event) -> None:
    with pytest.raises(EventTooLarge) as caught:
        encode(event)
    assert (caught.value.limit, caught.value.size > 6 * MIB) == (EVENT_LIMIT_BYTES, True)


VALUE = st.integers() | st.text(max_size=300) | st.lists(st.text(max_size=9), max_size=3)
FILES = st.lists(st.fixed_dictionaries({"filename": st.text(max_size=9), "b64": VALUE}), max_size=4)
OUTPUT = st.dictionaries(st.text(max_size=40), VALUE | FILES, max_size=5)


@settings(max_examples=50)
@given(OUTPUT, st.integers(64, 2000))
def test_any_output_is_cut_to_any_limit(output: dict[str, object], limit: int) -> None:
    found = cut_output(output, limit)
    assert size(found) <= limit
    assert (found == output) == (size(output) <= limit)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=8), OUTPUT, max_size=4), st.integers(200, 4000))
def test_any_outputs_are_cut_to_any_limit(outputs: Outputs, limit: int) -> None:
    assert size(cut_outputs(outputs, limit)) <= limit


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_outputs_that_just_fit_are_kept_and_one_byte_less_is_enough_to_cut(nodes: int) -> None:
    outputs: Outputs = {f"n{node}": {"text": "x" * 300} for node in range(nodes)}
    exact = size(outputs)
    assert cut_outputs(outputs, exact) == outputs
    for limit in range(exact - 3, exact):
        assert size(cut_outputs(outputs, limit)) <= limit


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def test_the_log_holds_what_is_left_and_refuses_before_it_sends(log: Log) -> None:
    job_id = (await log.submit(GRAPH)).job_id
    [lease] = await Dispatch(log, "r1").claim(0, ["default"], 1)
    log.event_limit_bytes = 100 * KIB
    with pytest.raises(EventTooLarge):
        await log.append(job_id, CancelRequested(reason="x" * 101 * KIB), epoch=0)
    outputs: Outputs = {"1": {"images": IMAGES, "b64": "A" * 2 * MIB}}
    await log.append(job_id, Succeeded(attempt=1, outputs=outputs), epoch=lease.epoch)
    *_, last = await job_events(log, job_id)
    assert [last.seq, len(last.payload) < 100 * KIB] == [3, True]
    assert cast("Succeeded", last.event).outputs["1"]["images"] == IMAGES
