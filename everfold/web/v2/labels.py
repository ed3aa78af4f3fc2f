"""The labels of a job, which the Comfy API v2 calls metadata: texts by name.

Rule: what is wrong is said of the one name that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from everfold.web.problem import Problem

LABELS_LIMIT = 16
NAME_LIMIT = 64
VALUE_LIMIT = 512

_FILTER = re.compile(r"metadata\[(.+)\]", re.DOTALL)


def checked_labels(given: object) -> dict[str, str]:
    """Return the labels of a new job. Raises Problem 422 `metadata_invalid`."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _invalid("metadata is an object of texts by name")
    if len(given) > LABELS_LIMIT:
        raise _invalid(f"metadata has {len(given)} pairs; {LABELS_LIMIT} are the most")
    for name, value in given.items():
        if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
            rule = f"a name has 1 to {NAME_LIMIT} printable characters"
            raise _invalid(f"metadata name {name[:NAME_LIMIT]!r}: {rule}")
        if not isinstance(value, str) or len(value) > VALUE_LIMIT or "\0" in value:
            rule = f"a value is a text of at most {VALUE_LIMIT} characters"
            raise _invalid(f"metadata.{name}: {rule}")
    return given


def label_filter(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the labels by which a list is filtered: `metadata[name]=value`.

    Raises Problem 400 `invalid_metadata_filter`.
    """
    found = dict[str, str]()
    for parameter, value in query:
        if not parameter.startswith("metadata"):
            continue
        match = _FILTER.fullmatch(parameter)
        if match is None:
            raise _odd_filter(f"{parameter[:NAME_LIMIT]!r}: write metadata[name]=value")
        name = match[1]
        if name in found:
            raise _odd_filter(f"metadata[{name[:NAME_LIMIT]}] stands there twice")
        if len(name) > NAME_LIMIT or len(value) > VALUE_LIMIT or not name.isprintable():
            raise _odd_filter("no job has a name or a value like this")
        found[name] = value
    if len(found) > LABELS_LIMIT:
        raise _odd_filter(f"{LABELS_LIMIT} labels are the most that a job has")
    return found


def _invalid(message: str) -> Problem:
    return Problem(422, "metadata_invalid", message)


def _odd_filter(message: str) -> Problem:
    return Problem(400, "invalid_metadata_filter", message)
