"""The values of GET /queue and GET /history/{id}, without the parts that nobody reads.

Rule: pure. Such a body has the graphs of whole prompts, and an output has any size. Only what is
read becomes values: the rest costs its bytes, and more values than can be read in a moment are
left out and marked, or refused.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from everfold.runner import loose_json
from everfold.runner.comfyui.truth import NotUnderstood
from everfold.runner.loose_json import TooManyValues
from everfold.streams.events.shortening import TRUNCATED

MOST_PROMPTS = 10_000
"""A longer queue is not read."""
MOST_SKIPPED_VALUES = 4_000_000
"""Also values that are not kept take time."""
MOST_NODES = 50_000
"""Keys of an entry's outputs that are looked at one by one, where all of them are too many."""
MOST_NAMES_BYTES = 1024 * 1024
"""Of the list of outputs that a prompt names."""

NOT_READ = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What the strict decoder raises for JSON as Python writes it, and for what is no JSON."""


class _Queue(Struct, frozen=True):
    queue_running: list[Raw]
    queue_pending: list[Raw]


class _Item(Struct, frozen=True, array_like=True):
    """A prompt in the queue, and in its history entry."""

    number: int | float | None
    prompt_id: str
    graph: Raw = Raw(b"null")
    extra: Raw = Raw(b"null")
    outputs: Raw = Raw(b"[]")


class _Entry(Struct, frozen=True):
    prompt: Raw = Raw(b"null")
    outputs: Raw = Raw(b"null")
    status: Raw = Raw(b"null")


_QUEUE, _ITEM = msgspec.json.Decoder(_Queue), msgspec.json.Decoder(_Item)
_ENTRY, _NODES = msgspec.json.Decoder(_Entry), msgspec.json.Decoder(dict[str, Raw])


def queue_value(body: bytes) -> object:
    """Return the value of GET /queue, without graphs. Raises NotUnderstood for no JSON, for more
    than MOST_PROMPTS prompts, and for more values than can be read."""
    try:
        loose_json.refuse_more_values(body, MOST_SKIPPED_VALUES)
        try:
            queue = _QUEUE.decode(body)
            if len(queue.queue_running) + len(queue.queue_pending) > MOST_PROMPTS:
                raise NotUnderstood(f"it has more than {MOST_PROMPTS:,} prompts")
            return {
                "queue_running": [_item_value(item) for item in queue.queue_running],
                "queue_pending": [_item_value(item) for item in queue.queue_pending],
            }
        except NOT_READ:
            return loose_json.read(body)
    except ValueError as error:
        raise NotUnderstood(str(error)) from None


def history_value(body: bytes, prompt_id: str) -> object:
    """Return the value of GET /history/{id}, without the graph.

    Outputs with more values than can be read are left out and marked. Raises NotUnderstood for
    no JSON, and TooManyValues where nothing else can be read either.
    """
    loose_json.refuse_more_values(body, MOST_SKIPPED_VALUES)
    begin = _begin(body, prompt_id)
    if begin is not None:
        try:
            entry = _ENTRY.decode(memoryview(body)[begin : body.rindex(b"}")])
            return {prompt_id: _entry_value(entry)}
        except (*NOT_READ, TooManyValues, ValueError):
            pass  # the slow decoder reads more than the strict one
    try:
        return loose_json.read(body)
    except TooManyValues:
        raise
    except ValueError as error:
        raise NotUnderstood(f"it is no JSON: {error}") from None


_OPENED, _NAMED = re.compile(rb"\s{0,99}\{\s{0,99}"), re.compile(rb"\s{0,99}:\s{0,99}(?=\{)")
"""What stands before and after the id of the entry."""


def begins_with_entry(body: bytes, prompt_id: str) -> bool:
    """Return whether a body, of which the rest was not read, has the prompt's history entry."""
    return _begin(body, prompt_id) is not None


def _begin(body: bytes, prompt_id: str) -> int | None:
    """Return where the entry begins in a body as ComfyUI writes it."""
    key, opened = msgspec.json.encode(prompt_id), _OPENED.match(body)
    if opened is None or not body.startswith(key, opened.end()):
        return None
    found = _NAMED.match(body, opened.end() + len(key))
    return found.end() if found else None


def _item_value(raw: Raw) -> list[object]:
    item = _ITEM.decode(raw)
    is_short = len(memoryview(item.outputs)) <= MOST_NAMES_BYTES
    outputs = loose_json.read(bytes(item.outputs), MOST_NODES) if is_short else []
    return [item.number, item.prompt_id, None, None, outputs]


def _entry_value(entry: _Entry) -> dict[str, object]:
    return {
        "prompt": _item_value(entry.prompt) if entry.prompt != Raw(b"null") else None,
        "status": loose_json.read(bytes(entry.status)),
        "outputs": _outputs_value(bytes(entry.outputs)),
    }


def _outputs_value(outputs: bytes) -> object:
    """Return all outputs, or those that can be read, with a mark for each other one."""
    try:
        return loose_json.read(outputs)
    except ValueError:
        if outputs.count(b'":') > MOST_NODES:
            return {TRUNCATED: _mark(len(outputs))}
    left, values = loose_json.MOST_VALUES, dict[str, object]()
    for node, raw in _NODES.decode(outputs).items():
        output = bytes(raw)
        try:
            values[node] = loose_json.read(output, left)
            left -= loose_json.count_values(output, left)
        except ValueError:
            left -= 1
            values[node] = _mark(len(output))
    return values


def _mark(size_bytes: int) -> dict[str, object]:
    return {TRUNCATED: True, "bytes": size_bytes}
