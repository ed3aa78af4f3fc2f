"""How the Comfy API v2 and Everfold's own routes answer what is not done."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.responses import Response

from everfold.web.problem import Problem


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What was wrong."""

    code: str
    """A word for programs; its meaning never changes."""
    message: str
    """A sentence for people: what was wrong, where, and what to do."""
    details: dict[str, object] | None = None


class ErrorEnvelope(Struct, frozen=True, kw_only=True):
    """The body of each answer that is no success."""

    error: ErrorBody


def envelope(problem: Problem) -> Response:
    """Answer with a problem."""
    details = None if problem.details is None else dict(problem.details)
    told = ErrorBody(code=problem.code, message=problem.message, details=details)
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    body = msgspec.json.encode(ErrorEnvelope(error=told))
    return Response(body, problem.status, headers, "application/json")
