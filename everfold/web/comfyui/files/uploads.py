"""POST /upload/image and /upload/mask: a file becomes an asset of the caller, with a name.

Rule: a file is stored as it comes, whatever stands before or behind it in the form, and is named
when all of the form is there. Nobody else's upload is ever named, or replaced.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.assets.asset import INPUT_KEEP_S, Asset
from everfold.streams.assets.upload_names import INPUT, name_upload
from everfold.streams.errors import InvalidName
from everfold.streams.events.json_text import NotJson, decoder
from everfold.web.bodies import body_chunks, json_answer
from everfold.web.comfyui.files.found_file import (
    KINDS,
    FileName,
    find_file,
    named_apart,
    plain_folder,
)
from everfold.web.files.multipart import (
    Multipart,
    NotMultipart,
    PartBegins,
    PartData,
    PartEnds,
    Step,
)
from everfold.web.operation import Call
from everfold.web.problem import Problem

IMAGE = "image"
FIELDS_LIMIT_BYTES = 64 * 1024
"""Of all fields together: they are kept until the end of the form."""
ROUND_IT_BYTES = 256 * 1024
"""What a body may have besides its file."""
MASK_KEEP_S = 3_600.0
"""How long a mask is kept that was put into a picture."""


class Uploaded(Struct, frozen=True, kw_only=True):
    """The body of the answer to an upload."""

    name: str
    subfolder: str
    type: str


class Reference(Struct, frozen=True, kw_only=True):
    """The picture that a mask belongs to."""

    filename: str
    subfolder: str = ""
    type: str = "output"


_read_reference = decoder(Reference)


async def upload_image(call: Call) -> Response:
    """Answer POST /upload/image."""
    form = await _received(call, INPUT_KEEP_S)
    return await _named(call, form, form.asset)


async def upload_mask(call: Call) -> Response:
    """Answer POST /upload/mask: the picture in `original_ref` with the transparency of the one that
    is sent."""
    form = await _received(call, MASK_KEEP_S)
    try:
        reference = _read_reference(form.fields.get("original_ref", ""))
    except NotJson as error:
        raise _invalid(f"original_ref names no picture: {error}") from error
    name = named_apart(reference.filename, reference.subfolder, reference.type)
    original = await find_file(call, name)
    if original is None:
        raise Problem(404, "not_found", "there is no such picture as original_ref names")
    store = call.gateway.everfold.assets
    made = await call.gateway.channels.make(store, "mask", [original.asset, form.asset])
    if not made:
        raise Problem(422, "no_picture", "the mask and the picture do not fit, or are none")
    stored = await store.put(
        made, name=form.asset.name, owner=call.caller.user, keep_s=INPUT_KEEP_S
    )
    return await _named(call, form, stored.asset)


class _Form(Struct, frozen=True):
    filename: str
    asset: Asset
    fields: dict[str, str]


async def _named(call: Call, form: _Form, asset: Asset) -> Response:
    kind = form.fields.get("type", INPUT)
    kind = kind if kind in KINDS else INPUT
    path = FileName(form.filename, plain_folder(form.fields.get("subfolder", ""))).path
    overwrite = form.fields.get("overwrite", "").lower() in ("true", "1")
    try:
        named = await name_upload(
            call.gateway.everfold.assets, asset, path, kind=kind, overwrite=overwrite
        )
    except InvalidName as error:
        raise _invalid(str(error)) from error
    folder, _, name = named.rpartition("/")
    return json_answer(Uploaded(name=name, subfolder=folder, type=kind))


async def _received(call: Call, keep_s: float) -> _Form:
    """Read a whole form; the file in it is stored. Raises Problem, and as the store does."""
    fields, files, left = dict[str, str](), list[tuple[str, Asset]](), FIELDS_LIMIT_BYTES
    async with aclosing(_steps(call)) as steps:
        async for step in steps:
            if not isinstance(step, PartBegins):
                continue
            if step.name == IMAGE and step.filename is not None:
                if files or not step.filename:
                    raise _invalid("send one file with a name, in the part `image`")
                files.append((step.filename, await _stored(call, step.filename, steps, keep_s)))
            else:
                content = await _field(steps, left)
                left -= len(content)
                fields[step.name[:100]] = content.decode("utf-8", "replace")
    if not files:
        raise _invalid("send a file with a name, in the part `image`")
    return _Form(files[0][0], files[0][1], fields)


async def _steps(call: Call) -> AsyncGenerator[Step, None]:
    try:
        parser = Multipart(call.request.headers.get("content-type", ""))
        most = call.gateway.settings.upload_limit_bytes + ROUND_IT_BYTES
        async with aclosing(body_chunks(call, most)) as chunks:
            async for chunk in chunks:
                for step in parser.feed(chunk):
                    yield step
    except NotMultipart as error:
        raise _invalid(str(error)) from error
    if not parser.is_whole:
        raise _invalid("the body ends before its last boundary")


async def _stored(
    call: Call, filename: str, steps: AsyncGenerator[Step, None], keep_s: float
) -> Asset:
    async def content() -> AsyncGenerator[bytes, None]:
        async for step in steps:
            if isinstance(step, PartEnds):
                return
            if isinstance(step, PartData):
                yield step.content
        raise _invalid("the file ends before its end")

    stored = await call.gateway.everfold.assets.put(
        content(),
        name=filename,
        owner=call.caller.user,
        keep_s=keep_s,
        most_bytes=call.gateway.settings.upload_limit_bytes,
    )
    return stored.asset


async def _field(steps: AsyncGenerator[Step, None], most: int) -> bytes:
    content = b""
    async for step in steps:
        if isinstance(step, PartEnds):
            break
        if isinstance(step, PartData):
            content += step.content
        if len(content) > most:
            why = f"the fields of the form have more than {FIELDS_LIMIT_BYTES:,} bytes"
            raise Problem(413, "too_large", why)
    return content


def _invalid(message: str) -> Problem:
    return Problem(400, "invalid_upload", message)
