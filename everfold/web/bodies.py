"""Reads the bodies of requests, and writes those of answers.

Rule: nobody sends more than was allowed, slower than was allowed, or nested deeper than every
reader can follow. What is wrong with a body is the sender's to know: a Problem, never a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.limits import NESTING_LIMIT
from everfold.web.operation import Call
from everfold.web.problem import Problem

T = TypeVar("T")

BODY_NESTING = NESTING_LIMIT + 8
"""Levels of a JSON body: it stands around a graph, or around what goes with one."""
SILENCE_S = 30.0
"""Seconds for which the sender of a body may be silent."""
LEAST_RATE = 8 * 1024
"""Bytes per second that a body has on average, beyond the first SILENCE_S: one that trickles would
hold its connection, and a part of a file, for ever."""
BODY_WITHIN_S = 120.0
"""Seconds within which all of a body but a file must have come."""

JSON_HEADERS = {"Content-Type": "application/json"}

_encode = msgspec.json.Encoder().encode


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer whose body is a value of msgspec, such as a Struct, as JSON."""
    return Response(_encode(value), status, {**JSON_HEADERS, **(headers or {})})


async def read_json(call: Call, kind: type[T]) -> T:
    """Return the JSON body of a request, whatever its media type says but for that of a form.

    Raises Problem: 400 `invalid_json` for what is no JSON, 422 `invalid_request` for JSON of
    another shape, and what `read_body` raises.
    """
    if call.request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise Problem(415, "unsupported_media_type", "send the body as application/json")
    body = await read_body(call, call.gateway.settings.body_limit_bytes)
    try:
        return decoder(kind, BODY_NESTING)(body)
    except NotJson as error:
        if isinstance(error.__cause__, msgspec.ValidationError):
            raise Problem(422, "invalid_request", f"the body does not fit: {error}") from error
        raise Problem(400, "invalid_json", f"the body is no JSON: {error}") from error


async def read_body(call: Call, most: int) -> bytes:
    """Return the whole body of a request, which has at most so many bytes.

    Raises Problem: 413 `too_large`, 415 for a packed body, 408 for a sender that is too slow,
    400 `body_missing` for one that has gone, and 503 `busy` where too much is being sent.
    """
    body = bytearray()
    try:
        with call.gateway.held_bodies.holding(call.caller) as more:
            async with asyncio.timeout(BODY_WITHIN_S), aclosing(body_chunks(call, most)) as chunks:
                async for chunk in chunks:
                    more(len(chunk))
                    body += chunk
    except TimeoutError as error:
        raise _too_slow() from error
    return bytes(body)


async def body_chunks(call: Call, most: int) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request as it comes. Raises Problem as `read_body` does.

    Only the time that the sender takes counts, not that of the reader.
    """
    headers = call.request.headers
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "unsupported_media_type", "send the body as it is, not packed")
    length = headers.get("content-length", "")
    # A longer number is one that int() would refuse, or take long to read.
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
        raise _too_large(most)
    size, waited_s, parts = 0, 0.0, call.request.stream().__aiter__()
    while True:
        asked_at_s = steady_s()
        ahead_s = size / LEAST_RATE - waited_s
        try:
            chunk = await asyncio.wait_for(anext(parts), SILENCE_S + min(ahead_s, 0.0))
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise _too_slow() from error
        except ClientDisconnect as error:
            raise Problem(400, "body_missing", "the body ended before its end") from error
        waited_s += steady_s() - asked_at_s
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        if chunk:
            yield chunk


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"the body is larger than {most:,} bytes, which is the limit")


def _too_slow() -> Problem:
    return Problem(408, "too_slow", "the body did not come in time")
