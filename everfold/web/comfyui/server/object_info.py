"""GET /object_info: the node classes of all servers, with the caller's uploads as choices.

Rule: what is the same for all callers is put together once for the same servers; a client that has
it already gets 304.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from starlette.responses import Response

from everfold.streams.assets.upload_names import all_names
from everfold.streams.errors import Misconfigured
from everfold.web.comfyui.refusal import JSON
from everfold.web.comfyui.server.catalogue import member_of
from everfold.web.comfyui.server.union import Description, upload_inputs, with_uploads
from everfold.web.files.byte_ranges import names_etag
from everfold.web.operation import Call

TAKES: Mapping[str, tuple[str, ...]] = {
    "image": ("image/",),
    "video": ("video/", "image/gif", "image/webp"),
    "audio": ("audio/", "video/"),
}
"""What an input takes -> media types that its names may have; of any other kind all."""


async def get_object_info(call: Call) -> Response:
    """Answer GET /object_info."""
    known, names = await call.gateway.catalogue.known(), await _uploads(call)
    etag = _etag(known.hash, names)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if names_etag(call.request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    members = [known.plain] if known.plain else []
    for name, description in known.union.uploads.items():
        shown = with_names(description, names)
        members.append(member_of(name, msgspec.json.encode(shown)))
    return Response(b"{" + b",".join(members) + b"}", headers=headers, media_type=JSON)


async def get_object_info_of(call: Call) -> Response:
    """Answer GET /object_info/{class}: an empty object for a class that no server has."""
    name = call.request.path_params["class_type"]
    union = (await call.gateway.catalogue.known()).union
    text = union.encoded.get(name)
    if name in union.uploads:
        text = msgspec.json.encode(with_names(union.uploads[name], await _uploads(call)))
    members = b"" if text is None else member_of(name, text)
    return Response(b"{" + members + b"}", media_type=JSON)


async def _uploads(call: Call) -> list[str]:
    try:
        return await all_names(call.gateway.everfold.assets, call.caller.user)
    except Misconfigured:
        return []


def with_names(description: Description, names: Sequence[str]) -> Description:
    """Return a class with those names of uploads as choices that each of its inputs takes."""
    return with_uploads(
        description,
        {
            name: [one for one in names if _is_taken(kind, one)]
            for name, kind in upload_inputs(description).items()
        },
    )


def _is_taken(kind: str, name: str) -> bool:
    media_type = mimetypes.guess_type(name)[0] or ""
    return kind not in TAKES or media_type.startswith(TAKES[kind])


def _etag(content_hash: str, names: Sequence[str]) -> str:
    text = "\n".join((content_hash, *names))
    return f'"{sha256(text.encode(errors="surrogatepass")).hexdigest()}"'
