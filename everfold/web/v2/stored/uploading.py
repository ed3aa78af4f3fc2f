"""Takes files: each goes to the store as it comes, and is known only when all of it is there.

Rule: the fields that say what a file is stand before it, so that nothing has to be kept or changed
afterwards. A body that ends too early leaves no file, and no part of one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from starlette.responses import Response

from everfold.streams.assets.asset import INPUT_KEEP_S, check_hash
from everfold.streams.assets.asset_store import Stored
from everfold.streams.errors import InvalidName
from everfold.web.bodies import body_chunks, json_answer
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
from everfold.web.v2.addresses import base_of
from everfold.web.v2.stored.asset_answer import asset_answer
from everfold.web.v2.submitting import idempotency_key_of

FILE = "file"
BEFORE_FILE = ("file_path", "expected_hash", "content_type")
FIELD_LIMIT_BYTES = 4_096
TAGS_LIMIT, TAG_LIMIT = 16, 64
ROUND_IT_BYTES = 64 * 1024
"""What a body may have besides its file."""


async def create_asset(call: Call) -> Response:
    """Store a file: 201, or 200 where the caller had the same bytes under the same name."""
    idempotency_key_of(call)  # the same bytes under the same name are the same file anyway
    form = _Form(call)
    async with aclosing(form.steps()) as steps:
        async for step in steps:
            if isinstance(step, PartBegins) and step.name == FILE:
                stored = await _stored(call, form, step, steps)
                break
            await form.take_field(step, steps)
        else:
            raise _invalid("there is no part called `file`")
    answer = asset_answer(
        stored.asset, base_of(call.request), time.time_ns() // 1_000_000, is_new=stored.created
    )
    return json_answer(answer, 201 if stored.created else 200)


def checked_tags(tags: Iterable[str]) -> None:
    """Raise Problem for tags that nobody could keep. They are not kept here."""
    found = list(tags)
    if len(found) > TAGS_LIMIT or any(not 1 <= len(tag) <= TAG_LIMIT for tag in found):
        rule = f"at most {TAGS_LIMIT} tags of 1 to {TAG_LIMIT} characters"
        raise Problem(422, "invalid_request", rule)


class _Form:
    """The fields of one body, as far as they have come."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.fields = dict[str, str]()
        self.tags = list[str]()
        try:
            self._parser = Multipart(call.request.headers.get("content-type", ""))
        except NotMultipart as error:
            raise Problem(415, "unsupported_media_type", str(error)) from error

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Yield what the body tells. Raises Problem for one that is not whole."""
        most = self._call.gateway.settings.upload_limit_bytes + ROUND_IT_BYTES
        async with aclosing(body_chunks(self._call, most)) as chunks:
            async for chunk in chunks:
                try:
                    steps = self._parser.feed(chunk)
                except NotMultipart as error:
                    raise _invalid(str(error)) from error
                for step in steps:
                    yield step
        if not self._parser.is_whole:
            raise _invalid("the body ends before its last boundary")

    async def take_field(self, step: Step, steps: AsyncGenerator[Step, None]) -> None:
        """Read one field to its end."""
        if not isinstance(step, PartBegins):
            return
        content = b""
        async for piece in steps:
            if isinstance(piece, PartEnds):
                break
            if isinstance(piece, PartData):
                content += piece.content
            if len(content) > FIELD_LIMIT_BYTES:
                raise Problem(413, "too_large", f"field {step.name[:80]!r} is too large")
        text = content.decode("utf-8", "replace")
        if step.name == "tags":
            self.tags.append(text)
        else:
            self.fields[step.name] = text


async def _stored(
    call: Call, form: _Form, begins: PartBegins, steps: AsyncGenerator[Step, None]
) -> Stored:
    expected = form.fields.get("expected_hash", "")
    try:
        if expected:
            check_hash(expected)
    except InvalidName as error:
        raise _invalid(str(error)) from error

    async def content() -> AsyncGenerator[bytes, None]:
        async for step in steps:
            if isinstance(step, PartEnds):
                # All of the body, before the store takes the file for whole.
                await _read_rest(form, steps)
                return
            if isinstance(step, PartData):
                yield step.content

    return await call.gateway.everfold.assets.put(
        content(),
        name=form.fields.get("file_path") or begins.filename or FILE,
        owner=call.caller.user,
        keep_s=INPUT_KEEP_S,
        expected_hash=expected,
        most_bytes=call.gateway.settings.upload_limit_bytes,
    )


async def _read_rest(form: _Form, steps: AsyncGenerator[Step, None]) -> None:
    async for step in steps:
        if isinstance(step, PartBegins) and step.name in (*BEFORE_FILE, FILE):
            raise _invalid(f"send `{step.name}` before the part `file`, and one file only")
        await form.take_field(step, steps)
    checked_tags(form.tags)


def _invalid(message: str) -> Problem:
    return Problem(422, "invalid_request", message)
