"""How ComfyUI's contract answers what is not done."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.responses import Response

from everfold.web.problem import Problem

JSON = "application/json"


class Complaint(Struct, frozen=True, kw_only=True):
    """Why a request is refused, in ComfyUI's shape."""

    type: str
    message: str
    details: str = ""
    extra_info: dict[str, object] = {}


class Refusal(Struct, frozen=True, kw_only=True):
    """The body of ComfyUI's 400 to POST /prompt; here of each answer that is no success."""

    error: Complaint
    node_errors: dict[str, object] = {}


def refusal(problem: Problem) -> Response:
    """Answer with a problem, whose details may have ComfyUI's `details`, `extra_info` and
    `node_errors`."""
    told = problem.details or {}
    nodes, details, extra = (told.get(name) for name in ("node_errors", "details", "extra_info"))
    body = Refusal(
        error=Complaint(
            type=problem.code,
            message=problem.message,
            details=details if isinstance(details, str) else "",
            extra_info=extra if isinstance(extra, dict) else {},
        ),
        node_errors=nodes if isinstance(nodes, dict) else {},
    )
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return Response(msgspec.json.encode(body), problem.status, headers, JSON)
