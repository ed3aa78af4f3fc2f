"""Shortens events: what nodes put into their outputs has any size, the log's entries have not.

Rule: pure. What is left out is marked in its place; references to files are kept before all else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from everfold.streams.border.sealed_form import holds_sealed
from everfold.streams.events.event import (
    Canceled,
    Event,
    Expired,
    Failed,
    Failure,
    Lost,
    NodeProblem,
    Outputs,
    OutputSaved,
    Queued,
    Retried,
    Succeeded,
)
from everfold.streams.events.json_text import nests_within
from everfold.streams.events.limits import NESTING_LIMIT, OUTPUT_LIMIT_BYTES

TRUNCATED = "everfold_truncated"
"""Key that marks an output of which something was left out; `bytes` is its size before."""

MARK_BYTES = 64
"""No mark is longer."""

TEXT_LIMIT = 10_000
"""Characters kept of a message or a reason that has to be shortened."""

PROBLEM_LIMIT = 100
"""Problems of single nodes that are kept of such an event."""

SMALL_BYTES = 1024
"""A field of a file reference that is larger is no reference, but the file itself."""

FILE_FIELDS = {"filename", "subfolder", "type", "asset", "hash", "name", "thumbnail"}

_encode = msgspec.json.Encoder().encode


def shortened(event: Event, limit_bytes: int) -> Event:
    """Return the event with outputs and messages shortened; it may still be over the limit.

    An event that is sealed was shortened before, and stays as it is where it fits. A node may have
    put out what only looks sealed.
    """
    if holds_sealed(event) and _fits(event, limit_bytes):
        return event
    match event:
        case OutputSaved():
            limit = min(OUTPUT_LIMIT_BYTES, _left(replace(event, output={}), limit_bytes))
            return replace(event, output=cut_output(event.output, limit))
        case Succeeded() | Failed() | Canceled():
            rest = _short_texts(event)
            left = _left(replace(rest, outputs={}), limit_bytes)
            return replace(rest, outputs=cut_outputs(event.outputs, left))
        case Queued():
            return replace(event, problems=_first_problems(event.problems))
        case _:
            return _short_texts(event)


def _fits(event: Event, limit_bytes: int) -> bool:
    encoded = _encode(event)
    return len(encoded) <= limit_bytes and nests_within(encoded, NESTING_LIMIT)


def cut_output(output: Mapping[str, object], limit_bytes: int) -> dict[str, object]:
    """Return a node's output as it is, or with a mark and as much of it as the limits allow.

    Of lists of files the references are kept, and as many as there is room for, those to stored
    files first; then the smallest of the other values.
    """
    size, output = _size_of(output), _shallow(output)
    if size <= limit_bytes:
        return dict(output)
    kept, left = dict[str, object](), limit_bytes - MARK_BYTES
    files = {key: found for key, value in output.items() if (found := _references(value))}
    for key in sorted(output, key=lambda key: (key not in files, _size_of(output[key]))):
        room = left - _size_of(key) - 2
        value = _first_of(files[key], room) if key in files else output[key]
        if _size_of(value) <= room and (value or key not in files):
            kept[key] = value
            left = room - _size_of(value)
    in_order = {key: kept[key] for key in output if key in kept}
    return {**in_order, TRUNCATED: True, "bytes": size}


def cut_outputs(outputs: Outputs, limit_bytes: int) -> Outputs:
    """Return the outputs of all nodes, the largest shortened so that all are within the limit.

    For more nodes than have room for a mark each, one mark stands for those left out.
    """
    outputs = {node: _shallow(output) for node, output in outputs.items()}
    sizes = {node: _size_of(output) + _size_of(node) + 2 for node, output in outputs.items()}
    limit_bytes -= 1  # each size counts its comma; of the two braces only one stands for a comma
    if sum(sizes.values()) <= limit_bytes and max(sizes.values(), default=0) <= OUTPUT_LIMIT_BYTES:
        return outputs
    level = min(_level(sorted(sizes.values()), limit_bytes), OUTPUT_LIMIT_BYTES)
    if level >= 2 * MARK_BYTES and max(map(_size_of, outputs)) < MARK_BYTES:
        return {
            node: cut_output(output, level - _size_of(node) - 2) for node, output in outputs.items()
        }
    kept, left = dict[str, dict[str, object]](), limit_bytes - 2 * MARK_BYTES
    for node in sorted(outputs, key=sizes.__getitem__):
        left -= sizes[node]
        if left < 0:
            break
        kept[node] = outputs[node]
    mark: dict[str, object] = {TRUNCATED: True, "bytes": sum(sizes.values())}
    return {**kept, TRUNCATED: mark}


def _shallow(output: Mapping[str, object]) -> dict[str, object]:
    """Return an output without the values that are nested too deep, and with a mark for them."""
    encoded = _encode(output)
    if nests_within(encoded, NESTING_LIMIT):
        return dict(output)
    kept = {k: v for k, v in output.items() if nests_within(_encode(v), NESTING_LIMIT - 1)}
    return {**kept, TRUNCATED: True, "bytes": len(encoded)}


def _level(sizes: Sequence[int], limit: int) -> int:
    """Return the size to which the largest must be cut, so that all together are within a limit."""
    left = limit
    for index, size in enumerate(sizes):
        if size * (len(sizes) - index) > left:
            return max(0, left) // (len(sizes) - index)
        left -= size
    return max(sizes, default=0)


def _references(value: object) -> list[dict[str, object]]:
    """Return a list of files, as ComfyUI's `images`, `gifs` and `audio`, without the large values
    beside their names; nothing for what is no such list."""
    files = value if isinstance(value, list) else []
    if not all(isinstance(file, dict) and isinstance(file.get("filename"), str) for file in files):
        return []
    return [without_large_fields(file) for file in files]


def without_large_fields(file: Mapping[str, object]) -> dict[str, object]:
    """Return a reference to a file as it is kept where its output is shortened."""
    return {k: v for k, v in file.items() if k in FILE_FIELDS or _size_of(v) <= SMALL_BYTES}


def _first_of(files: Sequence[dict[str, object]], room: int) -> list[dict[str, object]]:
    kept, left = set[int](), room - 2
    for index in sorted(range(len(files)), key=lambda index: "asset" not in files[index]):
        left -= _size_of(files[index]) + 1
        if left < 0:
            break
        kept.add(index)
    return [file for index, file in enumerate(files) if index in kept]


def _short_texts(event: Event) -> Event:
    """Return the event with messages and reasons that are no longer than TEXT_LIMIT."""
    match event:
        case Failed() | Retried():
            return replace(event, failure=_short_failure(event.failure))
        case Lost() if event.failure is not None:
            return replace(event, failure=_short_failure(event.failure))
        case Canceled() | Expired():
            return replace(event, reason=_short(event.reason))
    return event


def _short_failure(failure: Failure) -> Failure:
    details = _first_problems(failure.details)
    executed, cached = failure.executed, failure.cached
    return replace(
        failure,
        message=_short(failure.message),
        details=details,
        executed=executed and executed[:PROBLEM_LIMIT],
        cached=cached and cached[:PROBLEM_LIMIT],
    )


def _first_problems(problems: Sequence[NodeProblem]) -> list[NodeProblem]:
    return [
        replace(problem, message=_short(problem.message, TEXT_LIMIT // 10))
        for problem in problems[:PROBLEM_LIMIT]
    ]


def _short(text: str, limit: int = TEXT_LIMIT) -> str:
    left_out = len(text) - limit
    return text if left_out <= 0 else f"{text[:limit]} ... ({left_out:,} characters left out)"


def _left(event: Event, limit_bytes: int) -> int:
    """Return the bytes that an event without its outputs leaves for them."""
    return limit_bytes - _size_of(event)


def _size_of(value: object) -> int:
    return len(_encode(value))
