"""Answers that are the same for everybody: what the front end asks for, and a farm has none of."""

from __future__ import annotations

from starlette.responses import Response

from everfold.web.operation import Call

_OBJECT = b"{}"
_LIST = b"[]"


async def empty_object(call: Call) -> Response:
    """Answer with an empty JSON object."""
    return Response(_OBJECT, media_type="application/json")


async def empty_list(call: Call) -> Response:
    """Answer with an empty JSON list."""
    return Response(_LIST, media_type="application/json")


async def empty_style(call: Call) -> Response:
    """Answer with a style sheet that has no rules."""
    return Response(b"", media_type="text/css", headers={"Cache-Control": "no-cache"})
