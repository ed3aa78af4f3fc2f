"""Files of comfy-sdk: upload, look, use, download, remove."""

from __future__ import annotations

import asyncio
import io
import os
import uuid
from pathlib import Path

import anyio.to_thread
import httpx
import pytest
from blake3 import blake3
from comfy_sdk import AsyncComfy, Comfy
from comfy_sdk.exceptions import HashMismatch, MissingAsset, NotFound
from comfy_sdk.workflows import Workflow
from PIL import Image

from tests.support.wait import eventually
from tests.web.site import Site
from tests.web.v2.working import working

pytestmark = pytest.mark.anyio


def picture(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


def form(content: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """Return a multipart body whose file comes last, and its head."""
    lines = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = "".join([*lines, file]).encode() + content + b"\r\n--b--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=b"}


async def test_a_file_is_stored_once_and_found_by_its_bytes(sdk: AsyncComfy) -> None:
    content = picture()

    first = sdk.assets.from_bytes(content, filename="photo.png")
    await first.commit()
    again = sdk.assets.from_bytes(content, filename="photo.png")
    await again.commit()
    other = sdk.assets.from_bytes(content, filename="other.png")
    await other.commit()

    assert (first.created_new, again.created_new) == (True, False)
    assert first.hash == "blake3:" + blake3(content).hexdigest()
    assert again.id == first.id != other.id
    assert (await sdk.assets.get(str(other.id))).file_path == "other.png"


async def test_the_blocking_client_stores_a_path_and_a_stream(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_BASE_URL", site.url)
    path = tmp_path / "photo.png"
    path.write_bytes(picture("blue"))

    def store() -> tuple[str, str, bytes]:
        with Comfy() as client:
            by_path = client.assets.from_file(path).commit()
            by_stream = client.assets.from_stream(io.BytesIO(b"abc"), filename="a.txt")
            by_stream.commit()
            url = by_stream.get_download_url().url
            return by_path, str(by_stream.file_path), httpx.get(url).content

    asset, name, content = await anyio.to_thread.run_sync(store)

    assert (len(asset), name, content) == (36, "a.txt", b"abc")


async def test_a_file_of_a_url_is_an_input_of_a_workflow(site: Site, sdk: AsyncComfy) -> None:
    await working(site)
    source = sdk.assets.from_bytes(picture("green"), filename="source.png")
    await source.commit()
    asset = await sdk.assets.from_url((await source.get_download_url()).url)
    graph = Workflow(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": asset}},
            "2": {
                "class_type": "SaveImage",
                "inputs": {"images": ["1", 0], "filename_prefix": "copy"},
            },
        }
    )

    job = await (await sdk.submit(graph)).result()

    made = Image.open(io.BytesIO(await job.outputs[0].to_bytes()))
    assert (made.size, made.getpixel((0, 0))) == ((8, 8), (0, 128, 0))


async def test_a_workflow_with_a_file_that_nobody_knows_is_refused(sdk: AsyncComfy) -> None:
    reference = {"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}}
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": reference}}}

    with pytest.raises(MissingAsset):
        await sdk.submit(Workflow(graph))


async def test_other_bytes_than_were_promised_are_not_stored(
    sdk: AsyncComfy, client: httpx.AsyncClient
) -> None:
    asset = sdk.assets.from_bytes(b"these", filename="a.txt")
    asset._hash = "blake3:" + blake3(b"those").hexdigest()

    with pytest.raises(HashMismatch):
        await asset.commit()

    found = await client.head(f"/api/v2/assets/by-hash/blake3:{blake3(b'these').hexdigest()}")
    assert found.status_code == 404


async def test_a_removed_file_is_gone(sdk: AsyncComfy) -> None:
    asset = sdk.assets.from_bytes(b"abc", filename="a.txt")
    asset_id = await asset.commit()

    await asset.delete()

    with pytest.raises(NotFound):
        await sdk.assets.get(asset_id)
    with pytest.raises(NotFound):
        await sdk.assets.delete(asset_id)


async def test_bytes_that_nobody_has_make_no_file(client: httpx.AsyncClient) -> None:
    body = {"hash": "blake3:" + "0" * 64}

    answer = await client.post("/api/v2/assets/from-hash", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "blob_not_found")


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ({"Range": "bytes=2-4"}, 206, b"234"),
        ({"Range": "bytes=7-"}, 206, b"789"),
        ({"Range": "bytes=-2"}, 206, b"89"),
        ({"Range": "bytes=5-99"}, 206, b"56789"),
        ({"Range": "bytes=4-2"}, 200, b"0123456789"),
        ({"Range": "bytes=0-1,4-5"}, 200, b"0123456789"),
        ({"Range": "bytes=2-4", "If-Range": '"another"'}, 200, b"0123456789"),
        ({"Range": "bytes=10-"}, 416, None),
        ({"Range": f"bytes={'9' * 18}-"}, 416, None),
    ],
)
async def test_a_part_of_a_file_is_read(
    client: httpx.AsyncClient, asked: dict[str, str], status: int, content: bytes | None
) -> None:
    body, head = form(b"0123456789", file_path="digits.txt")
    asset = (await client.post("/api/v2/assets", content=body, headers=head)).json()

    answer = await client.get(asset["url"], headers=asked)

    assert answer.status_code == status
    if content is not None:
        assert answer.content == content
    else:
        assert answer.headers["content-range"] == "bytes */10"


async def test_a_file_is_safe_to_open_whatever_its_name_and_bytes_are(
    client: httpx.AsyncClient,
) -> None:
    body, head = form(b"<script>alert(1)</script>", file_path='../"\r\nSet-Cookie: a=b;\u202e.html')
    asset = (await client.post("/api/v2/assets", content=body, headers=head)).json()

    answer = await client.get(asset["url"])

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"].startswith(("application/octet-stream", "text/plain"))
    assert "set-cookie" not in answer.headers
    assert "sandbox" in answer.headers["content-security-policy"]
    again = {"If-None-Match": answer.headers["etag"]}
    assert (await client.get(asset["url"], headers=again)).status_code == 304
    only_head = await client.head(asset["url"])
    assert (only_head.headers["content-length"], only_head.content) == ("25", b"")


async def test_a_large_file_passes_through(sdk: AsyncComfy) -> None:
    content = os.urandom(9 * 2**20)

    asset = sdk.assets.from_bytes(content, filename="large.bin")
    await asset.commit()

    async with sdk._low.get_asset_content(str(asset.id)) as answer:
        assert b"".join([chunk async for chunk in answer.aiter_bytes()]) == content


async def test_a_sender_that_goes_away_leaves_nothing(
    site: Site, client: httpx.AsyncClient
) -> None:
    content = os.urandom(8 * 2**20)
    body, head = form(content, file_path="half.bin")
    place = httpx.URL(site.url)
    lines = [f"{name}: {value}" for name, value in head.items()]
    start = [
        "POST /api/v2/assets HTTP/1.1",
        f"Host: {place.host}",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    folder = Path(site.everfold.assets.url)
    parts = folder / "parts"
    _, writer = await asyncio.open_connection(place.host, place.port)
    try:
        writer.write("\r\n".join([*start, "", ""]).encode() + body[: len(body) // 2])
        await writer.drain()
        await eventually(lambda: parts.is_dir() and any(parts.iterdir()), 10)
    finally:
        writer.close()
        await writer.wait_closed()

    await eventually(lambda: not any(parts.iterdir()), 10)
    found = f"/api/v2/assets/by-hash/blake3:{blake3(content).hexdigest()}"
    assert (await client.head(found)).status_code == 404
    assert not list((folder / "blobs").rglob("*"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no form", 422),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n', 422),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n", 422),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b', 422),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b\r\n', 422),
        (form(b"a", expected_hash="md5:1")[0], 422),
        (form(b"a", file_path="x" * 5000)[0], 413),
    ],
)
async def test_a_form_that_is_none_stores_nothing(
    site: Site, client: httpx.AsyncClient, body: bytes, status: int
) -> None:
    head = {"Content-Type": "multipart/form-data; boundary=b"}

    answer = await client.post("/api/v2/assets", content=body, headers=head)

    assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert await site.everfold.assets.used_bytes("") == 0


async def test_fields_that_name_a_file_stand_before_it(
    site: Site, client: httpx.AsyncClient
) -> None:
    body, head = form(b"abc")
    late = b'--b\r\nContent-Disposition: form-data; name="file_path"\r\n\r\na.txt\r\n--b--\r\n'

    answer = await client.post(
        "/api/v2/assets", content=body.removesuffix(b"--b--\r\n") + late, headers=head
    )

    assert (answer.status_code, "before" in answer.text) == (422, True)
    assert await site.everfold.assets.used_bytes("") == 0
