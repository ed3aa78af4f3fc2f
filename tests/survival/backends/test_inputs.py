"""Files that jobs send: on the right server before the prompt, each once, as they were stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.events.event import Policy
from tests.support.job_files import BIG, GREEN, RED, Files, name_of, picture, uploads
from tests.support.programs.stack import Stack

pytestmark = [pytest.mark.anyio, pytest.mark.server]


@pytest.fixture
def files(stack: Stack, tmp_path: Path) -> Files:
    return Files(stack, tmp_path / "assets")


async def test_the_server_gets_the_bytes_and_the_log_says_by_which_name(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    first, second = await files.put(picture(RED)), await files.put(picture(GREEN), "mask.png")
    job_id = await files.submit(first, second)
    assert await files.shown(job_id) == [RED, GREEN]
    assert await files.sent(job_id) == [{"10.image": name_of(first), "20.image": name_of(second)}]
    job = await files.stack.job(job_id)
    assert job.inputs == {"10.image": first, "20.image": second}
    stored = await files.stack.log.workflow(job_id, job.workflow)
    assert stored is not None
    assert f"everfold:{first.asset}".encode() in stored


@pytest.mark.parametrize(
    ("content", "name", "ending"),
    [
        (picture(RED, "JPEG"), "photo.JPG", "jpg"),
        (picture(RED, "WEBP"), "no ending", "webp"),
        (picture(RED, "PNG"), "odd.e n d", "png"),
        (picture(RED, "PNG"), "../../étude.png", "png"),
    ],
)
async def test_a_file_keeps_its_kind_and_nothing_else_of_its_name(
    files: Files, content: bytes, name: str, ending: str
) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    file = await files.put(content, name)
    job_id = await files.submit(file)
    await files.stack.until(job_id, "succeeded")
    assert await files.sent(job_id) == [{"10.image": name_of(file, ending)}]


async def test_ten_jobs_with_one_file_send_it_once(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder), slots=10)
    file = await files.put(picture(RED, padding=BIG))
    jobs = [await files.submit(file, file) for _ in range(10)]
    for job_id in jobs:
        assert await files.shown(job_id) == [RED, RED]
    assert len(await uploads(comfy)) == 1


async def test_another_server_gets_the_file_when_the_first_one_dies(files: Files) -> None:
    first, second = await files.stack.comfy(), await files.stack.comfy()
    await files.stack.runner(first, assets=str(files.folder))
    file = await files.put(picture(RED))
    policy = Policy(backend_away_s=1.0, retry_backoff_s=0.1)
    job_id = await files.submit(file, seconds=3.0, policy=policy)
    await files.stack.until(job_id, "running")
    first.kill()
    await files.stack.runner(second, assets=str(files.folder))
    assert await files.shown(job_id) == [RED]
    assert (await files.stack.job(job_id)).backend == second.url
    assert await files.sent(job_id) == [{"10.image": name_of(file)}] * 2
    assert len(await uploads(second)) == 1


async def test_bytes_of_any_kind_are_sent_as_they_are(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    clip = await files.put(bytes(range(256)) * 999, "clip.mp4")
    graph = {"1": {"class_type": "PreviewAny", "inputs": {"source": f"everfold:{clip.asset}"}}}
    made = await files.stack.log.submit(graph, inputs={"1.source": clip})
    job = await files.stack.until(made.job_id, "succeeded")
    assert job.outputs == {"1": {"text": [name_of(clip, "mp4")]}}
    there = comfy.ledger.parent / "input" / name_of(clip, "mp4")
    assert there.read_bytes() == bytes(range(256)) * 999


async def test_every_form_of_a_reference_is_sent_as_a_name(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    file = await files.put(picture(RED))
    v2 = {"__type": "core/ASSET", "info": {"id": file.asset, "hash": file.hash}}
    forms = {"10.image": file.hash, "20.image": v2, "30.image.__value__": {"__value__": v2}}
    graph = dict[str, object]()
    for place, form in forms.items():
        node = place.partition(".")[0]
        graph[node] = {"class_type": "LoadImage", "inputs": {"image": form}}
        shown = {"images": [node, 0], "filename_prefix": "form"}
        graph[f"{node}2"] = {"class_type": "SaveImage", "inputs": shown}
    made = await files.stack.log.submit(graph, inputs=dict.fromkeys(forms, file))
    assert await files.shown(made.job_id) == [RED, RED, RED]
    assert len(await uploads(comfy)) == 1


async def test_masks_are_files_like_others(files: Files) -> None:
    comfy = await files.stack.comfy()
    await files.stack.runner(comfy, assets=str(files.folder))
    file = await files.put(picture(RED), "mask.png")
    mask = {"image": f"everfold:{file.asset}", "channel": "red"}
    graph = {
        "1": {"class_type": "LoadImageMask", "inputs": mask},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    made = await files.stack.log.submit(graph, inputs={"1.image": file})
    job = await files.stack.until(made.job_id, "succeeded")
    assert "mode=L size=8x8" in str(job.outputs["2"]["text"])
