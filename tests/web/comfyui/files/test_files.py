"""Uploads, what is made of them, and /view."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.programs.stack import Stack, sleeper
from tests.web.comfyui.jobs.test_prompts import history_of, queued
from tests.web.site import Site

pytestmark = pytest.mark.anyio


def png(color: tuple[int, ...], size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


async def uploaded(
    client: httpx.AsyncClient, content: bytes, name: str = "cat.png", **fields: str
) -> dict[str, Any]:
    answer = await client.post("/upload/image", files={"image": (name, content)}, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def viewed(client: httpx.AsyncClient, file: dict[str, Any], **query: str) -> httpx.Response:
    named = {"filename": file.get("name") or file["filename"], "subfolder": file["subfolder"]}
    return await client.get("/view", params={**named, "type": file["type"], **query})


def graph_of(image: str) -> dict[str, object]:
    saved = {"images": ["1", 0], "filename_prefix": "sub/made"}
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "SaveImage", "inputs": saved},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


async def test_an_upload_has_a_name_and_is_viewed_by_it(client: httpx.AsyncClient) -> None:
    red, blue = png((255, 0, 0)), png((0, 0, 255))

    assert await uploaded(client, red) == {"name": "cat.png", "subfolder": "", "type": "input"}
    assert (await uploaded(client, red))["name"] == "cat.png"
    other = await uploaded(client, blue)
    assert other["name"] == "cat (1).png"
    assert (await uploaded(client, blue))["name"] == "cat (1).png"
    deep = await uploaded(client, blue, subfolder="a/b")
    assert (deep["name"], deep["subfolder"]) == ("cat.png", "a/b")
    over = await uploaded(client, blue, overwrite="true")
    assert over["name"] == "cat.png"
    temp = await uploaded(client, red, type="temp")

    for file, content in ((over, blue), (other, blue), (deep, blue), (temp, red)):
        answer = await viewed(client, file)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
    part = await client.get("/api/view?filename=cat.png&type=input", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")


@pytest.mark.parametrize(
    ("filename", "subfolder", "kind"),
    [
        ("cat.png [input]", "clipspace", "input"),
        ("cat.png [input]", "clipspace", "output"),
        ("cat.png[input]", "clipspace", ""),
        ("cat.png", "clipspace/", "input"),
        ("cat.png", "./clipspace//", "input"),
        ("cat.png", "clipspace\\", "input"),
    ],
)
async def test_a_file_is_found_by_each_way_in_which_comfyuis_clients_write_its_name(
    client: httpx.AsyncClient, filename: str, subfolder: str, kind: str
) -> None:
    content = png((1, 2, 3))
    await uploaded(client, content, subfolder="clipspace")

    asked = {"filename": filename, "subfolder": subfolder, "type": kind}
    assert (await client.get("/view", params=asked)).content == content
    masked = await client.post(
        "/upload/mask",
        files={"image": ("mask.png", png((0, 0, 0, 40)))},
        data={"original_ref": json.dumps(asked)},
    )
    assert masked.status_code == 200, masked.text
    assert (await client.get("/view?filename=%20[input]")).status_code == 400


@pytest.mark.parametrize("subfolder", ["a/b", "a//b/./", "a\\b", "./a/b"])
async def test_a_folder_is_one_however_it_is_written(
    client: httpx.AsyncClient, subfolder: str
) -> None:
    assert (await uploaded(client, b"x", subfolder=subfolder))["subfolder"] == "a/b"


async def test_twenty_equal_names_at_once_are_twenty_names(client: httpx.AsyncClient) -> None:
    contents = [png((number, 0, 0)) for number in range(20)]

    files = await asyncio.gather(*(uploaded(client, content) for content in contents))

    assert {file["name"] for file in files} == {
        "cat.png", *(f"cat ({number}).png" for number in range(1, 20))
    }  # fmt: skip
    for file, content in zip(files, contents, strict=True):
        assert (await viewed(client, file)).content == content


@pytest.mark.parametrize(
    "name", ["../cat.png", "/etc/passwd", "a/../../b", "C:\\x.png", "..", "a\x00b.png"]
)
async def test_a_name_is_never_a_path(client: httpx.AsyncClient, name: str) -> None:
    by_name = await client.post("/upload/image", files={"image": (name, b"x")})
    by_folder = await client.post(
        "/upload/image", files={"image": ("a.png", b"x")}, data={"subfolder": name}
    )

    assert by_name.status_code in (200, 400)
    if by_name.status_code == 200:
        assert "/" not in by_name.json()["name"]
        assert ".." not in by_name.json()["subfolder"]
    assert by_folder.status_code == 400 or ".." not in by_folder.json()["subfolder"]
    for kind in ("input", "output", "temp", "elsewhere"):
        asked = {"filename": name, "type": kind, "subfolder": name}
        assert (await client.get("/view", params=asked)).status_code in (400, 404)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data", b"--x--\r\n"),
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x",
         b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\ncut off'),
        ("multipart/form-data; boundary=x",
         b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nno file\r\n--x--\r\n'),
    ],
)  # fmt: skip
async def test_a_form_that_is_none_is_refused(
    client: httpx.AsyncClient, content_type: str, body: bytes
) -> None:
    answer = await client.post(
        "/upload/image", content=body, headers={"Content-Type": content_type}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_upload"
    assert (await client.get("/view?filename=a.png&type=input")).status_code == 404


async def test_an_upload_goes_to_the_server_that_runs_the_job_and_is_shown_by_its_name(
    client: httpx.AsyncClient, stack: Stack, site: Site
) -> None:
    await stack.runner(await stack.comfy(), assets=site.everfold.assets.url)
    red = png((255, 0, 0))
    await uploaded(client, png((1, 2, 3)))
    file = await uploaded(client, red, subfolder="clipspace")
    named = f"clipspace/{file['name']} [input]"

    entry = await history_of(client, await queued(client, graph_of(named)))

    assert entry["prompt"][2] == graph_of(named)
    [made] = entry["outputs"]["2"]["images"]
    assert made["filename"].startswith("made_")
    assert made["subfolder"].endswith("/sub")
    answer = await viewed(client, made)
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    [shown] = entry["outputs"]["3"]["images"]
    assert shown["type"] == "temp"
    assert (await viewed(client, shown)).status_code == 200

    again = f"{made['subfolder']}/{made['filename']} [output]"
    entry = await history_of(client, await queued(client, graph_of(again)))
    assert entry["status"]["status_str"] == "success"
    assert entry["prompt"][2] == graph_of(again)


async def test_files_of_two_jobs_with_one_name_are_told_apart(
    client: httpx.AsyncClient, stack: Stack, site: Site
) -> None:
    servers = [await stack.comfy(), await stack.comfy()]
    for server in servers:
        await stack.runner(server, slots=1, assets=site.everfold.assets.url)
    entries = []
    for color in (0xFF0000, 0x00FF00):
        graph = sleeper(0.3, color)
        entries.append(await history_of(client, await queued(client, graph)))
    files = [entry["outputs"]["3"]["images"][0] for entry in entries]
    swapped = {**files[0], "subfolder": files[1]["subfolder"]}

    pixels = []
    for file in files:
        answer = await viewed(client, file)
        assert f'inline; filename="{file["filename"]}"' in answer.headers["content-disposition"]
        with Image.open(io.BytesIO(answer.content)) as image:
            pixels.append(image.convert("RGB").getpixel((0, 0)))
    assert pixels == [(255, 0, 0), (0, 255, 0)]
    if files[0]["filename"] != files[1]["filename"]:
        assert (await viewed(client, swapped)).status_code == 404
    assert (await viewed(client, {**files[0], "type": "temp"})).status_code == 404
    assert (await viewed(client, {**files[0], "subfolder": ""})).status_code == 404


async def test_a_mask_becomes_the_transparency_of_its_picture(client: httpx.AsyncClient) -> None:
    original = await uploaded(client, png((9, 8, 7)))
    reference = {"filename": original["name"], "subfolder": "", "type": "input"}
    answer = await client.post(
        "/upload/mask",
        files={"image": ("mask.png", png((0, 0, 0, 40)))},
        data={"original_ref": httpx.Response(200, json=reference).text, "subfolder": "clipspace",
              "type": "input"},
    )  # fmt: skip

    assert answer.json() == {"name": "mask.png", "subfolder": "clipspace", "type": "input"}
    whole = await viewed(client, answer.json())
    alpha = await viewed(client, answer.json(), channel="a")
    opaque = await viewed(client, answer.json(), channel="rgb")
    pixels = []
    for one in (whole, alpha, opaque):
        with Image.open(io.BytesIO(one.content)) as image:
            pixels.append(image.getpixel((0, 0)))
    assert pixels == [(9, 8, 7, 40), (0, 0, 0, 40), (9, 8, 7)]


async def test_a_mask_of_nothing_is_refused(client: httpx.AsyncClient) -> None:
    for reference in ("", "[]", "{", '{"filename": "nobody.png", "type": "input"}'):
        answer = await client.post(
            "/upload/mask",
            files={"image": ("mask.png", png((0, 0, 0, 40)))},
            data={"original_ref": reference},
        )
        assert answer.status_code in (400, 404)


async def test_the_fields_of_a_form_have_a_limit_together(client: httpx.AsyncClient) -> None:
    fields = {f"field{number}": "x" * 30_000 for number in range(3)}
    answer = await client.post("/upload/image", files={"image": ("a.png", b"x")}, data=fields)

    assert answer.status_code == 413
    assert "65,536 bytes" in answer.json()["error"]["message"]


async def test_a_page_is_never_shown(client: httpx.AsyncClient) -> None:
    for name, content in (("a.html", b"<script>1</script>"), ("b.svg", b"<svg xmlns='x'/>")):
        answer = await viewed(client, await uploaded(client, content, name))
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]
