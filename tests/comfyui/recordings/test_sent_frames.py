"""Pictures that come over the websocket: which count, and when they are all of a node's."""

from __future__ import annotations

import pytest

from everfold.runner.backend import SentPictures
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import Node
from everfold.runner.comfyui.sightings import Sightings

PLAN = {
    "1": Node("KSampler", (), 20.0),
    "2": Node("SaveImageWebsocket", ("1",), 1.0),
    "3": Node("ETN_SendImageWebSocket", ("1",), 1.0),
}
START = said.ExecutionStart(prompt_id="p")
SUCCESS = said.ExecutionSuccess(prompt_id="p")


def runs(node: str | None) -> said.Message:
    return said.Executing(prompt_id="p", node=node)


def shows(image: bytes, node: str | None = None) -> said.Message:
    return said.Preview(image=image, node=node, prompt_id="p" if node else None)


def seen(*told: said.Message | None) -> dict[str, SentPictures]:
    """Return the pictures after these messages; None stands for a new connection."""
    sightings = Sightings("p", PLAN)
    sightings.miss()
    for message in told:
        if message is None:
            sightings.miss()
        else:
            sightings.add(message)
    return dict(sightings.merge().pictures)


def whole(*pictures: bytes) -> SentPictures:
    return SentPictures(pictures=pictures, is_whole=True)


@pytest.mark.parametrize("node", [None, "2"])
def test_pictures_of_a_node_are_kept_and_previews_of_others_dropped(node: str | None) -> None:
    pictures = [shows(b"a", node), shows(b"b", node)]
    found = seen(START, runs("1"), shows(b"preview"), runs("2"), *pictures, runs("3"), SUCCESS)
    assert found == {"2": whole(b"a", b"b"), "3": whole()}


def test_a_preview_that_names_another_node_or_prompt_is_none_of_its_pictures() -> None:
    other = said.Preview(image=b"x", node="2", prompt_id="q")
    found = seen(START, runs("2"), shows(b"x", "1"), other, shows(b"a"), SUCCESS, shows(b"late"))
    assert found["2"] == whole(b"a")


def test_a_node_that_did_not_run_has_sent_nothing() -> None:
    assert seen(START, runs("1"), SUCCESS) == {"2": whole(), "3": whole()}


def test_what_was_sent_while_nobody_listened_is_missed() -> None:
    found = seen(START, runs("2"), shows(b"a"), None, shows(b"b"), runs("3"), shows(b"c"), SUCCESS)
    assert found == {"2": SentPictures(pictures=(b"a",)), "3": whole(b"c")}
    anew = said.Executing(node="2")  # as ComfyUI greets a new connection
    assert seen(anew, shows(b"b"), runs("3"), SUCCESS)["2"] == SentPictures()
    assert seen(START, None, SUCCESS) == {"2": SentPictures(), "3": SentPictures()}
    assert seen(START, runs("2"), shows(b"a"))["2"] == SentPictures(pictures=(b"a",))


def test_a_node_that_runs_in_several_turns_is_one_node() -> None:
    turns = [runs("2"), shows(b"a"), runs("2"), shows(b"b"), runs("1"), runs("2"), shows(b"c")]
    assert seen(START, *turns, SUCCESS)["2"] == whole(b"a", b"b", b"c")


def test_too_many_or_too_large_pictures_are_told_as_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everfold.runner.comfyui.sent_frames.PICTURES_LIMIT", 3)
    many = [shows(bytes([n])) for n in range(9)]
    found = seen(START, runs("2"), *many, runs("3"), shows(b"x"), SUCCESS)
    assert found["2"] == SentPictures(pictures=(b"\0", b"\1", b"\2"), is_cut=True)
    assert found["3"] == SentPictures(is_cut=True)
    monkeypatch.setattr("everfold.runner.comfyui.sent_frames.PICTURES_LIMIT_BYTES", 5)
    found = seen(START, runs("2"), shows(b"abc"), shows(b"def"), shows(b"g"), SUCCESS)
    assert found["2"] == SentPictures(pictures=(b"abc",), is_cut=True)
