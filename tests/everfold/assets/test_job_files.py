"""A job's files are told as its outputs name them, whatever else a server writes there."""

from __future__ import annotations

import pytest

from everfold.assets.job_files import JobFile, Thumbnail, choose_file, job_files, not_stored
from everfold.projector.job.job import Job
from everfold.projector.job.words import Status
from everfold.streams.errors import InvalidName, OutputUnknown
from everfold.streams.events.event import Outputs

ASSET = "0c6a0d9e-3f5e-5e0c-8f53-2f9c8a40beef"
HASH = "blake3:" + "ab" * 32


def stored(filename: str, **more: object) -> dict[str, object]:
    name = f"job-1_{filename}"
    where = {"filename": filename, "subfolder": "", "type": "output", "name": name}
    return {
        **where,
        "asset": ASSET,
        "hash": HASH,
        "size_bytes": 9,
        "media_type": "image/png",
        **more,
    }


def left(filename: str, **more: object) -> dict[str, object]:
    return {"filename": filename, "subfolder": "", "type": "output", **more}


def job(outputs: Outputs, status: Status = "succeeded") -> Job:
    return Job(job_id="job-1", status=status, outputs=outputs, backend="http://gpu-1:8188")


def test_files_are_in_the_order_of_the_outputs() -> None:
    outputs: Outputs = {
        "9": {"images": [stored("a.png", width=4, height=3), stored("b.png")], "text": ["a dog"]},
        "12": {"gifs": [left("c.mp4", why="quota", stored=False)], "animated": [True]},
    }
    first, second, third = job_files(job(outputs))

    assert first == JobFile(
        index=0,
        node="9",
        kind="images",
        name="job-1_a.png",
        filename="a.png",
        type="output",
        backend="http://gpu-1:8188",
        asset=ASSET,
        hash=HASH,
        size_bytes=9,
        media_type="image/png",
        width=4,
        height=3,
    )
    assert first.is_stored
    assert (second.index, second.name) == (1, "job-1_b.png")
    assert (third.index, third.node, third.kind, third.why) == (2, "12", "gifs", "quota")
    assert not third.is_stored


def test_a_thumbnail_is_told() -> None:
    small = {"asset": ASSET, "hash": HASH, "size_bytes": 3, "media_type": "image/webp", "width": 2}
    (file,) = job_files(job({"9": {"images": [stored("a.png", thumbnail=small)]}}))

    assert file.thumbnail == Thumbnail(
        asset=ASSET, hash=HASH, size_bytes=3, media_type="image/webp", width=2
    )


@pytest.mark.parametrize(
    ("status", "why"), [("succeeded", "kept"), ("failed", "kept"), ("running", "open")]
)
def test_a_file_that_nobody_collected_says_so(status: Status, why: str) -> None:
    (file,) = job_files(job({"9": {"images": [left("a.png")]}}, status))

    assert (file.why, file.name, file.backend) == (why, "job-1_a.png", "http://gpu-1:8188")


@pytest.mark.parametrize(
    "bad",
    [
        {"asset": "../../etc/passwd"},
        {"asset": 5},
        {"asset": None},
        {"hash": "blake3:../../x"},
        {"hash": HASH.upper()},
        {"hash": ["a"]},
    ],
)
def test_what_no_store_can_have_said_is_no_stored_file(bad: dict[str, object]) -> None:
    (file,) = job_files(job({"9": {"images": [stored("a.png", **bad)]}}))

    assert (file.asset, file.hash, file.is_stored) == ("", "", False)


def test_odd_values_are_no_error() -> None:
    odd = stored("../../x.png", size_bytes=-1, media_type=7, width="9", thumbnail=[1], name="../y")
    outputs: Outputs = {"9": {"images": [odd, 5, None, {"filename": 5}], "text": "x", "n": 3}}
    (file,) = job_files(job(outputs))

    assert (file.name, file.size_bytes, file.media_type, file.width) == ("y", 0, "", 0)
    assert file.thumbnail is None


OUTPUTS: Outputs = {
    "3": {"images": [left("preview.png", type="temp", stored=False, why="skipped")]},
    "9": {"images": [stored("a.png"), stored("b.png")]},
    "12": {"images": [stored("a.png", subfolder="two", name="job-1_a_2.png")]},
}


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ({}, 1),
        ({"index": 0}, 0),
        ({"index": 2}, 2),
        ({"node": "9"}, 1),
        ({"node": "9", "index": 1}, 2),
        ({"node": "12"}, 3),
        ({"node": "3"}, 0),
        ({"file": "b.png"}, 2),
        ({"file": "job-1_a.png"}, 1),
        ({"file": "two/a.png"}, 3),
        ({"file": "a.png", "node": "12"}, 3),
        ({"file": "a.png", "index": 1}, 3),
    ],
)
def test_a_file_is_chosen_by_name_node_and_number(choice: dict[str, object], index: int) -> None:
    assert choose_file(job(OUTPUTS), **choice).index == index  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choice",
    [{"file": "c.png"}, {"node": "4"}, {"node": "9", "index": 2}, {"index": -1}, {"index": 4}],
)
def test_a_file_that_there_is_not_is_refused(choice: dict[str, object]) -> None:
    with pytest.raises(OutputUnknown, match="job-1"):
        choose_file(job(OUTPUTS), **choice)  # type: ignore[arg-type]
    with pytest.raises(OutputUnknown, match="has no files"):
        choose_file(job({}))


def test_a_name_that_several_files_have_is_refused() -> None:
    outputs: Outputs = {"9": {"images": [left("a.png"), left("a.png", subfolder="b")]}}
    with pytest.raises(InvalidName, match=r"\(index 0\), .*\(index 1\)"):
        choose_file(job(outputs), "a.png")
    assert choose_file(job(outputs), "a.png", index=1).index == 1


def test_the_error_of_a_file_that_is_not_stored_says_why_and_where_it_was_made() -> None:
    (file, *_) = job_files(job({"9": {"images": [left("a.png")]}}))
    found = not_stored("job-1", file)

    assert (found.why, found.backend) == ("kept", "http://gpu-1:8188")
    assert str(found) == (
        "'a.png' of job job-1 is not stored: its job's outputs were left on the server; it was "
        "made on http://gpu-1:8188"
    )
