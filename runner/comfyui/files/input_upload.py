"""Puts a stored file into a server's input folder, and proves that it is there.

Rule: its name is its hash, and nothing is overwritten: a server that has other bytes of that name,
such as half of a file, chooses another name, and the name of the answer counts. The bytes are read
back and hashed before a graph names them. A file is sent from its beginning or not at all.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import httpx
from blake3 import blake3

from everfold.runner.access.address import without_secrets
from everfold.runner.backend import (
    InputBytes,
    InputFile,
    NotPlaced,
    Placed,
    PlaceOutcome,
    Unreachable,
)
from everfold.runner.comfyui.http import (
    BODY_LIMIT_BYTES,
    Answer,
    ComfyHttp,
    explain,
    refuse_compressed,
)
from everfold.runner.loose_json import as_object, as_text, as_whole
from everfold.streams.assets.asset import HASH_PREFIX

SUBFOLDER = "everfold"
"""Of the input folder: names in the folder itself are listed in each /object_info."""

SILENCE_S = 60.0
"""Longest silence either way; a server that stores a large file says nothing meanwhile."""
ASK_WITHIN_S = 15.0
"""For the question whether a file is there."""
LEAST_RATE = 256 * 1024
"""Bytes per second that a transfer has on average, beyond the first SILENCE_S."""
TRIES = 2
"""How often a file is sent to a server that keeps other bytes."""
ASK_ABOVE_BYTES = 32 * 2**20
"""Of a larger file the server's limit is asked for first: ComfyUI takes 100 MB by default."""

ENDINGS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif",
    "image/bmp": "bmp", "image/tiff": "tiff", "video/mp4": "mp4", "video/webm": "webm",
    "video/quicktime": "mov", "video/x-matroska": "mkv", "audio/mpeg": "mp3", "audio/wav": "wav",
    "audio/x-wav": "wav", "audio/flac": "flac", "audio/ogg": "ogg", "audio/mp4": "m4a",
    "model/gltf-binary": "glb", "text/plain": "txt", "application/json": "json",
}  # fmt: skip
"""Nodes look at the ending; where the file's own name has none, its media type tells one."""

_ENDING = re.compile(r"[A-Za-z0-9]{1,8}")
_FOLDER = re.compile(r"(?:[\w-]+(?:/[\w-]+)*)?", re.ASCII)


def file_name(file: InputFile) -> str:
    """Return the name under which a file is sent: of its hash, with an ending."""
    stem, _, ending = file.name.rpartition(".")
    if not stem or not _ENDING.fullmatch(ending):
        ending = ENDINGS.get(file.media_type.partition(";")[0].strip().lower(), "bin")
    return f"{file.hash.removeprefix(HASH_PREFIX)}.{ending.lower()}"


class InputUpload:
    """Uploads to one server."""

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http

    async def place(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        """Implements `everfold.runner.backend.Backend.place_input`."""
        name = f"{SUBFOLDER}/{file_name(file)}"
        there = await self.is_there(file, name)
        if isinstance(there, Unreachable):
            return there
        if there and await self._hash_of(file, name) == file.hash:
            return Placed(name)
        if (limit := await self._limit_bytes(file)) is not None and file.size_bytes >= limit:
            return _too_large(f"takes {limit:,} bytes at most", file)
        found: str | Unreachable = ""
        for _ in range(TRIES):
            stored = await self._send(file, content)
            if not isinstance(stored, str):
                return stored
            found = await self._hash_of(file, stored)
            if isinstance(found, Unreachable):
                return found
            if found == file.hash:
                return Placed(stored)
        kept = f"keeps {found}" if found else "does not give it back"
        return NotPlaced(f"it was sent {file.name} ({file.hash}) and {kept}")

    async def is_there(self, file: InputFile, name: str) -> bool | Unreachable | None:
        """Say whether the server has a file of this name and size; None where it does not say."""
        try:
            with anyio.fail_after(ASK_WITHIN_S):
                answer = await self._http.begin(
                    "HEAD", "/view", silence_s=ASK_WITHIN_S, params=_view(name)
                )
                await answer.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            return self._unreachable("HEAD /view", error)
        except Exception:  # not every gateway knows the method
            return None
        if answer.status_code not in (200, 400, 404):
            return None
        length = answer.headers.get("Content-Length", str(file.size_bytes))
        return answer.status_code == 200 and length == str(file.size_bytes)

    async def _limit_bytes(self, file: InputFile) -> int | None:
        if file.size_bytes < ASK_ABOVE_BYTES:
            return None
        answer = await self._http.features()
        told = as_object(answer.json()) if isinstance(answer, Answer) else {}
        limit = told.get("max_upload_size")
        return as_whole(limit) if isinstance(limit, int) and limit > 0 else None

    async def _send(self, file: InputFile, content: InputBytes) -> str | NotPlaced | Unreachable:
        """Send the file once; return the name under which the server says that it has it."""
        body = _Multipart(file, content)
        try:
            with anyio.fail_after(_within_s(file)):
                response = await self._http.begin(
                    "POST",
                    "/upload/image",
                    silence_s=SILENCE_S,
                    content=body.pieces(),
                    headers=body.headers,
                )
                answer = await _read(response)
        except Exception as error:
            return self._unreachable("POST /upload/image", error)
        if answer.status == 413:
            return _too_large(f"answered 413: {answer.excerpt()}", file)
        if answer.status != 200:
            return NotPlaced(f"POST /upload/image answered {answer.status}: {answer.excerpt()}")
        return _stored_name(file, answer)

    async def _hash_of(self, file: InputFile, name: str) -> str | Unreachable:
        """Return the hash of what the server has, empty where it has nothing of the name."""
        try:
            with anyio.fail_after(_within_s(file)):
                response = await self._http.begin(
                    "GET", "/view", silence_s=SILENCE_S, params=_view(name)
                )
                try:
                    return await _hash(response, file)
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:
            return self._unreachable("GET /view", error)

    def _unreachable(self, call: str, error: Exception) -> Unreachable:
        told = without_secrets(explain(error), self._http.address.revealed_headers())
        return Unreachable(f"{call}: {told}")


class _Multipart:
    """The request's body, of a length that is known before."""

    def __init__(self, file: InputFile, content: InputBytes) -> None:
        self._content = content
        boundary = uuid4().hex
        fields = {"type": "input", "subfolder": SUBFOLDER, "overwrite": "false"}
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        self._head = (
            f'{head}--{boundary}\r\nContent-Disposition: form-data; name="image"; '
            f'filename="{file_name(file)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        length = len(self._head) + file.size_bytes + len(self._tail)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._head
        async with self._content() as chunks:
            async for chunk in chunks:
                yield chunk
        yield self._tail


async def _read(response: httpx.Response) -> Answer:
    try:
        refuse_compressed(response)
        body = b""
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > BODY_LIMIT_BYTES:
                break
        return Answer(response.status_code, body)
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


async def _hash(response: httpx.Response, file: InputFile) -> str:
    if response.status_code in (400, 404):
        return ""
    if response.status_code != 200:
        raise ValueError(f"it answered {response.status_code}")
    refuse_compressed(response)
    found, size_bytes = blake3(), 0
    async for chunk in response.aiter_raw():
        found.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > file.size_bytes:
            return f"more than {file.size_bytes:,} bytes"
    return f"{HASH_PREFIX}{found.hexdigest()}"


def _stored_name(file: InputFile, answer: Answer) -> str | NotPlaced:
    told = as_object(answer.json())
    name, folder = as_text(told.get("name")), as_text(told.get("subfolder"))
    digits = re.escape(file.hash.removeprefix(HASH_PREFIX))
    is_ours = re.fullmatch(rf"{digits}[\w ().-]{{0,40}}", name, re.ASCII)
    is_input = told.get("type", "input") == "input"
    if not is_ours or not is_input or not _FOLDER.fullmatch(folder):
        return NotPlaced(f"POST /upload/image is not understood: {answer.excerpt()}")
    return f"{folder}/{name}" if folder else name


def _view(name: str) -> dict[str, str]:
    folder, _, filename = name.rpartition("/")
    return {"filename": filename, "type": "input", "subfolder": folder}


def _within_s(file: InputFile) -> float:
    return SILENCE_S + file.size_bytes / LEAST_RATE


def _too_large(said: str, file: InputFile) -> NotPlaced:
    needed = f"{file.name} has {file.size_bytes:,}"
    return NotPlaced(f"it {said}; {needed}: start ComfyUI with a larger --max-upload-size")
