"""What ComfyUI says of a prompt, as it is passed on."""

from __future__ import annotations

import json

from everfold.runner.comfyui.graph import Node
from everfold.runner.comfyui.messages import decode
from everfold.runner.comfyui.said import MOST_KEPT
from everfold.runner.comfyui.sightings import Sightings
from everfold.streams.live.live_message import (
    Began,
    Cached,
    LiveMessage,
    NodeBegan,
    NodeOutput,
    NodeText,
    Preview,
    States,
)
from tests.comfyui.recordings.recording import NAMES, Recording, binary_frame

PNG = b"\x89PNG-picture"


def frame(record: dict[str, object]) -> str | bytes:
    return binary_frame(record) if record.get("binary") else json.dumps(record["msg"])


def said(name: str, classes: dict[str, str] | None = None) -> dict[str, list[LiveMessage]]:
    """Return what is passed on of each prompt of a recording, by its id."""
    recording = Recording(name)
    started = [
        record["msg"]["data"]["prompt_id"]
        for record in recording.records
        if record["dir"] == "ws-recv" and record.get("msg", {}).get("type") == "execution_start"
    ]
    plan = {node: Node(kind, (), 1.0) for node, kind in (classes or {}).items()}
    found = dict[str, list[LiveMessage]]()
    for prompt_id in dict.fromkeys(started):
        sightings = Sightings(prompt_id, plan)
        sightings.pass_on(True)
        for record in recording.records:
            if record["dir"] == "ws-recv":
                sightings.add(decode(frame(record)))
        found[prompt_id] = list(sightings.merge().messages)
    return found


def test_a_whole_run_is_passed_on_but_not_its_end() -> None:
    (told,) = said("success").values()
    assert told[:2] == [Began(), Cached([])]
    assert [one.node for one in told if isinstance(one, NodeBegan)] == ["1", "2", "3", "4"]
    outputs = [one for one in told if isinstance(one, NodeOutput)]
    saved = {"filename": "fast_00001_.png", "subfolder": "", "type": "output"}
    assert outputs == [NodeOutput("4", output={"images": [saved]})]
    assert isinstance(told[-1], States)
    assert {node.is_finished for node in told[-1].nodes.values()} == {True}


def test_nothing_is_passed_on_that_nobody_wants() -> None:
    sightings = Sightings("p", {})
    sightings.add(decode('{"type": "execution_start", "data": {"prompt_id": "p"}}'))
    assert sightings.merge().messages == ()
    sightings.pass_on(True)
    sightings.add(decode('{"type": "executing", "data": {"node": "1", "prompt_id": "p"}}'))
    assert sightings.has_news
    assert sightings.merge().messages == (NodeBegan("1"),)
    assert not sightings.has_news


def test_texts_and_previews_without_a_prompt_belong_to_the_one_that_runs() -> None:
    (told,) = said("multi-outputs").values()
    assert any(isinstance(one, NodeText) for one in told)

    sightings = Sightings("p", {})
    sightings.pass_on(True)
    early = decode(bytes([0, 0, 0, 1, 0, 0, 0, 2]) + PNG)
    sightings.add(early)
    assert sightings.merge().messages == (), "another prompt's"
    sightings.add(decode('{"type": "executing", "data": {"node": "1", "prompt_id": "p"}}'))
    sightings.add(early)
    assert sightings.merge().messages == (NodeBegan("1"), Preview("1", "image/png", PNG))


def test_pictures_that_are_outputs_are_no_previews() -> None:
    (told,) = said("ws-image-progress", {"2": "SaveImageWebsocket"}).values()
    assert not any(isinstance(one, Preview) for one in told)


def test_what_is_kept_is_bounded_in_every_recording() -> None:
    for name in NAMES:
        for told in said(name).values():
            assert len(told) <= MOST_KEPT
            assert sum(isinstance(one, Preview) for one in told) <= 1
