"""Uploads and /view, as the real server answers."""

from __future__ import annotations

import json
import os
from io import BytesIO

import pytest
from PIL import Image

from tests.simulator.client import Client

pytestmark = pytest.mark.anyio


def png(color: tuple[int, ...]) -> bytes:
    buffer = BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", (16, 16), color).save(buffer, "PNG")
    return buffer.getvalue()


RED, GREEN, HALF_BLUE = png((255, 0, 0)), png((0, 255, 0)), png((0, 0, 255, 100))


async def upload(
    comfy: Client, name: str, content: bytes, route: str = "image", **fields: str
) -> tuple[int, object]:
    files = {"image": (name, content)}
    answer = await comfy.http.post(f"/upload/{route}", files=files, data=fields)
    return answer.status_code, answer.json() if answer.status_code == 200 else None


async def viewed(comfy: Client, **query: str) -> Image.Image:
    answer = await comfy.http.get("/view", params=query)
    assert answer.status_code == 200
    return Image.open(BytesIO(answer.content))


async def test_an_upload_keeps_its_name_unless_another_file_has_it(comfy: Client) -> None:
    first = await upload(comfy, "a.png", RED)
    same = await upload(comfy, "a.png", RED)
    other = await upload(comfy, "a.png", GREEN)
    replaced = await upload(comfy, "a.png", GREEN, overwrite="true")

    assert first == same == replaced == (200, {"name": "a.png", "subfolder": "", "type": "input"})
    assert other == (200, {"name": "a (1).png", "subfolder": "", "type": "input"})
    assert (await viewed(comfy, filename="a.png", type="input")).getpixel((0, 0)) == (0, 255, 0)


async def test_a_file_comes_with_the_second_in_which_it_was_written(comfy: Client) -> None:
    await upload(comfy, "a.png", RED, type="output")
    path = comfy.simulator.folders.root / "output" / "a.png"
    os.utime(path, (1_800_000_000, 1_800_000_000))
    for delay_s in (0.0, 0.01):
        await comfy.fault("delay_view", seconds=delay_s)
        answer = await comfy.http.get("/view?filename=a.png")
        assert answer.content == RED
        assert answer.headers["Last-Modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"


async def test_an_upload_goes_to_the_folder_that_is_asked_for(comfy: Client) -> None:
    for kind in ("input", "temp", "output"):
        status, told = await upload(comfy, f"{kind}.png", RED, type=kind, subfolder="x/y")
        assert (status, told) == (
            200,
            {"name": f"{kind}.png", "subfolder": "x/y", "type": kind},
        )
        path = comfy.simulator.folders.root / kind / "x" / "y" / f"{kind}.png"
        assert path.read_bytes() == RED
    assert (await upload(comfy, "a.png", RED, subfolder="../../x"))[0] == 400
    assert (await upload(comfy, "../../a.png", RED))[0] == 400
    assert (await comfy.http.post("/upload/image", data={"type": "input"})).status_code == 400


async def test_a_mask_becomes_the_alpha_channel_of_an_earlier_upload(comfy: Client) -> None:
    await upload(comfy, "red.png", RED)
    original = {"filename": "red.png", "subfolder": "", "type": "input"}

    told = await upload(
        *(comfy, "mask.png", HALF_BLUE, "mask"), original_ref=json.dumps(original), type="input"
    )

    assert told == (200, {"name": "mask.png", "subfolder": "", "type": "input"})
    masked = await viewed(comfy, filename="mask.png [input]")
    assert masked.getpixel((0, 0)) == (255, 0, 0, 100)
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mask.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert (await comfy.post(graph)).status_code == 200


async def test_view_re_encodes_where_it_is_asked_to(comfy: Client) -> None:
    await upload(comfy, "a.png", HALF_BLUE)
    asked = {"filename": "a.png", "type": "input"}

    assert (await viewed(comfy, **asked, preview="webp;50")).format == "WEBP"
    assert (await viewed(comfy, **asked, preview="jpeg")).format == "JPEG"
    assert (await viewed(comfy, **asked, preview="jpeg", channel="a")).format == "WEBP"
    assert (await viewed(comfy, **asked, channel="rgb")).getpixel((0, 0)) == (0, 0, 255)
    assert (await viewed(comfy, **asked, channel="a")).getpixel((0, 0)) == (0, 0, 0, 100)


async def test_files_outside_the_folders_are_refused(comfy: Client) -> None:
    statuses = {
        "/view?filename=../../etc/passwd": 400,
        "/view?filename=/etc/passwd": 400,
        "/view?filename=passwd&subfolder=../../../etc": 403,
        "/view?filename=a.png&type=models": 400,
        "/view?filename=nope.png": 404,
        "/view?filename=": 400,
        "/view": 404,
        "/object_info/SaveImage": 200,
        "/system_stats": 200,
        "/api/features": 200,
    }
    for path, status in statuses.items():
        assert (await comfy.http.get(path)).status_code == status, path


async def test_a_graph_cannot_save_outside_the_output_folder(comfy: Client) -> None:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
    prefix = {"images": ["1", 0], "filename_prefix": "../../out"}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": prefix},
    }
    entry = await comfy.until_in_history((await comfy.post(graph)).json()["prompt_id"])

    status = entry["status"]
    assert isinstance(status, dict)
    assert status["messages"][-1][0] == "execution_error"


async def test_requests_are_counted(comfy: Client) -> None:
    for path in ("/system_stats", "/api/system_stats", "/history/x", "/api/history/y", "/nothing"):
        await comfy.http.get(path)

    found = await comfy.get("/simulator/requests")
    assert isinstance(found, dict)
    counts = (found[f"GET /{path}"] for path in ("system_stats", "history", "nothing"))
    assert tuple(counts) == (2, 2, 1)
