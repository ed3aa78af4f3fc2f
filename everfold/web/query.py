"""Reads the parameters of a query as their rows declare them.

Rule: what is not declared is refused, so that a misspelled filter never selects everything; what is
declared is checked here, so that the OpenAPI document says what is checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from starlette.requests import Request

from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_choice
from everfold.web.operation import Parameter
from everfold.web.problem import Problem

DIGITS_LIMIT = 20
"""Characters of a number: int() takes long to read a very long one."""

FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Query:
    """The parameters of one request's query. Raises Problem, or InvalidName, for wrong ones."""

    def __init__(self, request: Request, parameters: Sequence[Parameter]) -> None:
        declared = {one.name: one for one in parameters if one.place == "query"}
        self._declared = declared
        self._given: dict[str, list[str]] = {}
        for name, text in request.query_params.multi_items():
            if name not in declared:
                raise _unknown(name, list(declared))
            self._given.setdefault(name, []).append(text)
        for name, texts in self._given.items():
            if len(texts) > 1 and not declared[name].is_list:
                raise InvalidName(name, ", ".join(texts[:3]), "give it once")
        for name, one in declared.items():
            if one.is_required and name not in self._given:
                raise Problem(422, "invalid_request", f"the query lacks {name}: {one.told}")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter that may be repeated."""
        return tuple(map(self._declared[name].checked, self._given.get(name, ())))

    def text(self, name: str) -> str | None:
        """Return a text, None where it is not given."""
        found = self._given.get(name)
        return self._declared[name].checked(found[0]) if found else None

    def number(self, name: str, default: int) -> int:
        """Return a whole number inside its bounds."""
        found, one = self._given.get(name), self._declared[name]
        if not found:
            return default
        least, most = one.least or 0, one.most if one.most is not None else 2**53
        text = found[0]
        is_number = len(text) <= DIGITS_LIMIT and text.isascii() and text.isdigit()
        if not is_number or not least <= int(text) <= most:
            raise InvalidName(name, text, f"use a whole number from {least:,} to {most:,}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return whether a flag is set; false where it is not given."""
        found = self._given.get(name)
        if not found:
            return False
        check_choice(name, found[0], tuple(FLAGS))
        return FLAGS[found[0]]


def _unknown(name: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(name[:100], known, n=1)
    instead = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    return Problem(422, "invalid_request", f"the query has no parameter {name[:100]!r}; {instead}")
