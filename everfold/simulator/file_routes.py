"""Files over HTTP: /view, /upload/image and /upload/mask, as ComfyUI answers."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from aiohttp import web
from PIL import Image

from everfold.simulator.faults import Faults
from everfold.simulator.ledger import Ledger
from everfold.simulator.nodes import images
from everfold.simulator.nodes.folders import KINDS, Folders, split_annotation

Change = Callable[[bytes], bytes]


class FileRoutes:
    def __init__(self, folders: Folders, faults: Faults, ledger: Ledger) -> None:
        self._folders, self._faults, self._ledger = folders, faults, ledger

    def table(self) -> list[web.RouteDef]:
        """Return the routes, without the copies under /api."""
        return [
            web.get("/view", self._get_view),
            web.post("/upload/image", self._post_image),
            web.post("/upload/mask", self._post_mask),
        ]

    async def _get_view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        path = self._found(query["filename"], query.get("type"), query.get("subfolder", ""))
        if isinstance(path, web.Response):
            return path
        headers = {"Content-Disposition": f'filename="{path.name}"'}
        channel = query.get("channel", "rgba")
        if "preview" in query:
            kind, _, quality = query["preview"].partition(";")
            kind = kind if kind in ("webp", "jpeg") and "a" not in query.get("channel", "") else ""
            body = _preview(path, kind or "webp", int(quality) if quality.isdigit() else 90)
            return web.Response(body=body, content_type=f"image/{kind or 'webp'}", headers=headers)
        if channel in ("rgb", "a"):
            return web.Response(
                body=_channel(path, channel), content_type="image/png", headers=headers
            )
        headers["Content-Type"] = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        # What a runner reads of the server's identity and boot goes on.
        if query.get("type") != "input" and path.suffix != ".txt":
            return await self._served(request, path, headers)
        return web.FileResponse(path, headers=headers)

    async def _served(
        self, request: web.Request, path: Path, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send a file, with the faults that are set."""
        faults = self._faults
        if faults.take("refuse_views"):
            return web.Response(status=faults.refuse_status, text="refused on demand")
        is_broken = faults.take("break_views")
        if not is_broken and not faults.view_delay_s:
            return web.FileResponse(path, headers=headers)
        written = await asyncio.to_thread(path.stat)
        content = await asyncio.to_thread(path.read_bytes)
        response = web.StreamResponse(headers=headers)
        response.content_length = len(content)
        response.last_modified = written.st_mtime
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        if is_broken:
            assert request.transport is not None
            request.transport.abort()
            return response
        await asyncio.sleep(faults.view_delay_s)
        await response.write(content[len(content) // 2 :])
        return response

    def _found(self, name: str, kind: str | None, subfolder: str) -> Path | web.Response:
        """Return the file that is asked for, or the answer that refuses it."""
        filename, annotated = split_annotation(name)
        kind = annotated or kind or "output"
        if not filename or kind not in KINDS:
            return web.Response(status=400)
        try:
            path = self._folders.find(kind, subfolder, filename)
        except ValueError:
            return web.Response(status=400)
        except PermissionError:
            return web.Response(status=403)
        return web.Response(status=404) if path is None else path

    async def _post_image(self, request: web.Request) -> web.Response:
        return await self._upload(request, lambda content: content)

    async def _post_mask(self, request: web.Request) -> web.Response:
        """Store an earlier image with the alpha channel of the one that is sent."""
        form = await request.post()
        original = json.loads(str(form.get("original_ref", "{}")))
        name, kind = str(original.get("filename", "")), str(original.get("type", "output"))
        path = self._found(name, kind, str(original.get("subfolder", "")))
        if isinstance(path, web.Response):
            return path
        content = await asyncio.to_thread(path.read_bytes)
        return await self._upload(request, lambda mask: images.with_alpha_of(content, mask))

    async def _upload(self, request: web.Request, change: Change) -> web.Response:
        if self._faults.upload_pause_s:
            await asyncio.sleep(self._faults.upload_pause_s)
        form = await request.post()
        upload = form.get("image")
        if not isinstance(upload, web.FileField) or not upload.filename:
            return web.Response(status=400)
        kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        kind = kind if kind in KINDS else "input"
        name, content = upload.filename, upload.file.read()
        self._ledger.uploads.append({"name": name, "subfolder": subfolder, "size": len(content)})
        if len(content) > self._faults.upload_limit_bytes:
            return web.Response(status=413, text="Maximum request body size exceeded")
        if self._faults.take("break_uploads"):
            return web.Response(status=500, text="500 Internal Server Error")
        if self._faults.take("spoil_uploads"):
            content = content[: len(content) // 2]
        try:
            folder = self._folders.inside(kind, subfolder)
            folder = self._folders.inside(kind, str((folder / name).parent))
        except PermissionError:
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(name).name
        if form.get("overwrite") not in ("true", "1"):
            path = _free_path(path, content)
        path.write_bytes(change(content))
        return web.json_response({"name": path.name, "subfolder": subfolder, "type": kind})


def _free_path(path: Path, content: bytes) -> Path:
    """Return the path, or the first numbered one that is free or holds the same bytes."""
    free, count = path, 1
    while free.exists() and free.read_bytes() != content:
        free = path.with_name(f"{path.stem} ({count}){path.suffix}")
        count += 1
    return free


def _preview(path: Path, kind: str, quality: int) -> bytes:
    buffer = BytesIO()
    with Image.open(path) as image:
        shown = image.convert("RGB") if kind == "jpeg" else image
        shown.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def _channel(path: Path, channel: str) -> bytes:
    with Image.open(path) as image:
        if channel == "rgb":
            return images.encoded(image.convert("RGB"), "PNG")
        alpha = Image.new("RGBA", image.size)
        alpha.putalpha(image.convert("RGBA").getchannel("A"))
        return images.encoded(alpha, "PNG")
