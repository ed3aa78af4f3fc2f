"""Bodies of requests: bounded in size, time and depth, whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from starlette.requests import Request

from everfold.web import bodies
from everfold.web.access.held_bodies import HeldBodies
from everfold.web.bodies import json_answer, read_body, read_json
from everfold.web.caller import EVERYBODY
from everfold.web.operation import Call
from everfold.web.problem import Problem
from everfold.web.settings import WebSettings

pytestmark = pytest.mark.anyio


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class FakeGateway:
    """Nothing else of a gateway is asked for a body."""

    settings = WebSettings(body_limit_bytes=1000)
    held_bodies = HeldBodies()


def call_with(parts: Sequence[bytes], *, ends: str = "whole", **headers: str) -> Call:
    """Return a call whose body comes in parts, and then is whole, stops, or hangs."""

    async def messages() -> AsyncIterator[dict[str, object]]:
        for part in parts:
            yield {"type": "http.request", "body": part, "more_body": True}
        if ends == "whole":
            yield {"type": "http.request", "body": b"", "more_body": False}
        if ends == "stops":
            yield {"type": "http.disconnect"}
        await asyncio.Event().wait()

    coming = messages()
    given = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": given, "query_string": b""}
    request = Request(scope, receive=coming.__anext__)
    return Call(FakeGateway(), request, EVERYBODY)  # type: ignore[arg-type]


async def test_json_is_read_in_parts_and_checked_against_its_type() -> None:
    assert await read_json(call_with([b'{"x"', b": 1}"]), Point) == Point(1)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[" * 200 + b"]" * 200, 400, "invalid_json"),
        (b'{"x": "1"}', 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b" " * 1001, 413, "too_large"),
    ],
)
async def test_what_is_wrong_with_json_is_told(text: bytes, status: int, code: str) -> None:
    with pytest.raises(Problem) as told:
        await read_json(call_with([text]), Point)

    assert (told.value.status, told.value.code) == (status, code)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": "1001"}, 413),
        ({"content_length": "9" * 5000}, 413),
        ({"content_encoding": "gzip"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
    ],
)
async def test_a_head_that_tells_enough_is_refused_unread(
    headers: dict[str, str], status: int
) -> None:
    with pytest.raises(Problem) as told:
        await read_json(call_with([], ends="hangs", **headers), Point)

    assert told.value.status == status


async def test_a_length_that_lies_is_no_way_around_the_limit() -> None:
    with pytest.raises(Problem) as told:
        await read_body(call_with([b"x" * 600] * 2, content_length="3"), 1000)

    assert told.value.status == 413


async def test_a_sender_that_goes_away_is_told_apart() -> None:
    with pytest.raises(Problem) as told:
        await read_body(call_with([b"x"], ends="stops"), 1000)

    assert (told.value.status, told.value.code) == (400, "body_missing")


@pytest.mark.parametrize("bound", ["SILENCE_S", "BODY_WITHIN_S"])
async def test_a_sender_that_is_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(bodies, bound, 0.01)

    with pytest.raises(Problem) as told:
        await read_body(call_with([b"x"], ends="hangs"), 1000)

    assert told.value.status == 408


async def test_an_answer_is_json_of_a_struct() -> None:
    answer = json_answer(Point(1), 201, {"X-A": "b"})

    assert (answer.status_code, answer.body) == (201, b'{"x":1,"y":0}')
    assert (answer.headers["content-type"], answer.headers["x-a"]) == ("application/json", "b")
