"""GET /view and /view_metadata: the bytes of uploads and of what jobs have made."""

from __future__ import annotations

from typing import cast

from blake3 import blake3
from starlette.responses import Response

from everfold.assets.channels import Operation
from everfold.streams.assets.asset import HASH_PREFIX, Asset
from everfold.streams.errors import Unknown
from everfold.web.bodies import json_answer
from everfold.web.comfyui.files.coming_file import coming_file
from everfold.web.comfyui.files.found_file import KINDS, FileName, FoundFile, find_file, named_apart
from everfold.web.files.file_answer import File, file_answer, known_bytes, stored_bytes
from everfold.web.operation import Call
from everfold.web.problem import Problem

TEXT_LIMIT = 4_000
"""Characters of a name, or of a folder."""
CHANNELS = ("rgb", "a")


async def view(call: Call) -> Response:
    """Answer GET /view: the file, a small picture of it, or one of its channels."""
    name, query = _name(call), call.request.query_params
    found = await find_file(call, name) or await coming_file(call, name)
    if found is None:
        raise Problem(404, "not_found", "there is no such file here")
    if isinstance(found, Response):
        return found
    channel = query.get("channel", "rgba")
    if channel in CHANNELS and found.asset.media_type.startswith("image/"):
        return await _channel(call, found.asset, cast("Operation", channel), name.filename)
    if "preview" in query and found.thumbnail:
        small = await _small(call, found)
        return await _asset(call, small, small.name)
    return await _asset(call, found.asset, name.filename)


async def view_metadata(call: Call) -> Response:
    """Answer GET /view_metadata/{folder}: nothing is known here of what a model file says."""
    return json_answer({}, 404)


def _name(call: Call) -> FileName:
    query = call.request.query_params
    filename, subfolder = query.get("filename", ""), query.get("subfolder", "")
    if not filename:
        raise Problem(404, "not_found", "name a file by `filename`")
    name = named_apart(filename, subfolder, query.get("type") or "output")
    is_path = "/" in name.filename or "\\" in name.filename or name.filename.startswith(".")
    is_none = not name.filename or len(filename) + len(subfolder) > TEXT_LIMIT
    if is_path or is_none or ".." in name.subfolder.split("/") or name.kind not in KINDS:
        raise Problem(400, "invalid_request", "this names no file")
    return name


async def _small(call: Call, found: FoundFile) -> Asset:
    try:
        return await call.gateway.everfold.assets.get(found.thumbnail)
    except Unknown:
        return found.asset


async def _channel(call: Call, asset: Asset, channel: Operation, name: str) -> Response:
    store = call.gateway.everfold.assets
    made = await call.gateway.channels.make(store, channel, [asset])
    if not made:
        raise Problem(422, "no_picture", "no channels can be had of this file")
    file = File(
        name=f"{name.rpartition('.')[0] or name}.png",
        media_type="image/png",
        size_bytes=len(made),
        hash=HASH_PREFIX + blake3(made).hexdigest(),
        open=known_bytes(made),
    )
    return await file_answer(call.request, file)


async def _asset(call: Call, asset: Asset, name: str) -> Response:
    """Answer with an asset under the name that was asked for: its own has the job's id."""
    file = File(
        name=name,
        media_type=asset.media_type,
        size_bytes=asset.size_bytes,
        hash=asset.hash,
        open=stored_bytes(call.gateway.everfold.assets, asset.hash),
    )
    return await file_answer(call.request, file)
