"""Reads the query of a request."""

from __future__ import annotations

from everfold.web.operation import Call
from everfold.web.problem import Problem

MOST = 10**9


def whole_number(call: Call, name: str, usual: int, least: int = 0) -> int:
    """Return a whole number of the query. Raises Problem 400 for what is none."""
    text = call.request.query_params.get(name)
    if text is None or text == "":
        return usual
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise Problem(400, "invalid_request", f"{name} must be a whole number")
    return min(max(int(text), least), MOST)
