"""What a supervisor asks a gateway."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from everfold.web.operation import Call


async def livez(call: Call) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")
