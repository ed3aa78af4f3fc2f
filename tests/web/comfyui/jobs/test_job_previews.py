"""What of a job's outputs is counted and shown in lists of jobs."""

from __future__ import annotations

import pytest

from everfold.web.comfyui.jobs.job_previews import TEXT_LIMIT, Output, previews_of

PICTURE: Output = {"filename": "a.png", "subfolder": "", "type": "output"}
TEMPORARY: Output = {**PICTURE, "type": "temp"}
TEXT: Output = {**PICTURE, "filename": "notes.TXT"}

CASES: list[tuple[str, dict[str, Output], tuple[int, int], Output | None]] = [
    ("nothing", {}, (0, 0), None),
    ("a flag", {"1": {"animated": [True], "images": [PICTURE]}}, (1, 1),
     {**PICTURE, "nodeId": "1", "mediaType": "images"}),
    ("saved first", {"1": {"images": [TEMPORARY]}, "2": {"images": [PICTURE]}}, (2, 2),
     {**PICTURE, "nodeId": "2", "mediaType": "images"}),
    ("no file of text first", {"1": {"files": [TEXT]}, "2": {"images": [TEMPORARY]}}, (2, 2),
     {**TEMPORARY, "nodeId": "2", "mediaType": "images"}),
    ("a text last", {"1": {"text": ["words"]}, "2": {"files": [TEXT]}}, (1, 1),
     {**TEXT, "nodeId": "2", "mediaType": "files"}),
    ("a text alone", {"1": {"text": ["words"]}}, (0, 0),
     {"content": "words", "nodeId": "1", "mediaType": "text"}),
    ("a long text", {"1": {"text": ["x" * 2000]}}, (0, 0),
     {"content": "x" * TEXT_LIMIT, "truncated": True, "nodeId": "1", "mediaType": "text"}),
    ("a video by its format", {"1": {"clips": [{**PICTURE, "format": "video/mp4"}]}}, (1, 1),
     {**PICTURE, "format": "video/mp4", "nodeId": "1", "mediaType": "clips"}),
    ("a model by its name", {"1": {"result": [{**PICTURE, "filename": "a.GLB"}]}}, (1, 1),
     {**PICTURE, "filename": "a.GLB", "nodeId": "1", "mediaType": "result"}),
    ("what cannot be shown", {"1": {"latents": [{**PICTURE, "filename": "a.latent"}]}}, (1, 0),
     None),
    ("odd values", {"1": {"text": [None, 7, ["x"]], "images": "no list"}}, (0, 0), None),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "counts", "best"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_what_is_counted_and_what_stands_for_the_job(
    outputs: dict[str, Output], counts: tuple[int, int], best: Output | None
) -> None:
    found = previews_of(outputs)

    assert (found.count, found.shown_count) == counts
    assert found.best == best
