"""What ComfyUI's queue and history say about a prompt.

Rule: pure and total. What is not understood is told as such and never left out: an absent prompt
may be run again. `queue_pending` is a heap array, so it is sorted by (number, prompt_id), the
order in which the server takes from it. An entry of the history exists once its prompt has ended,
so that any becomes an `Ended`, unless it speaks of another prompt. An interrupt has the status
`error` and a message of its own; outputs saved before a failure are kept. Source: ComfyUI 0.3.64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import UNSET, Struct

from everfold.runner.backend import Ended, Load, Pending, Running
from everfold.runner.loose_json import (
    as_list,
    as_name,
    as_object,
    as_text,
    as_texts,
    as_whole,
)
from everfold.streams.border.addresses import masked_text
from everfold.streams.events.event import Failure, Outputs
from everfold.streams.events.limits import LAST_DATE_MS, NODES_LIMIT, TRACEBACK_LIMIT_BYTES

MESSAGE_LIMIT = 2000
"""Characters of an exception's text that are kept: some carry whole tensors."""


def outputs_to_execute(item: Sequence[object]) -> frozenset[str]:
    """Return the output nodes of a queue item or of a history entry's `prompt`."""
    return frozenset(as_texts(item[4])) if len(item) > 4 else frozenset()


class Item(Struct, frozen=True):
    """One prompt in the queue."""

    number: float
    """Smaller ones run first."""
    prompt_id: str
    outputs: frozenset[str]
    """The output nodes that ComfyUI means to execute."""


class Queue(Struct, frozen=True):
    """The whole queue at one moment, prompts of other clients included."""

    running: list[Item]
    pending: list[Item]
    """In the order in which they will run."""

    def find(self, prompt_id: str) -> Running | Pending | None:
        """Return where the prompt is; None when it is not in the queue."""
        if any(item.prompt_id == prompt_id for item in self.running):
            return Running()
        for position, item in enumerate(self.pending):
            if item.prompt_id == prompt_id:
                return Pending(position)
        return None

    def load(self) -> Load:
        """Return how many prompts run and wait."""
        ids = tuple(item.prompt_id for item in self.running)
        return Load(running=len(self.running), pending=len(self.pending), running_ids=ids)


class NotUnderstood(ValueError):
    """A body whose meaning is not certain: nothing may be concluded from what it lacks."""


def read_queue(body: object) -> Queue:
    """Read the value of GET /queue. Raises NotUnderstood if only one item makes no sense."""
    parts = as_object(body)
    pending = sorted(
        _read_items(parts, "queue_pending"), key=lambda item: (item.number, item.prompt_id)
    )
    return Queue(_read_items(parts, "queue_running"), pending)


def _read_items(parts: dict[str, object], name: str) -> list[Item]:
    items = parts.get(name)
    if not isinstance(items, list):
        raise NotUnderstood(f"{name} is no list")
    return [_read_item(item, name) for item in items]


def _read_item(fields: object, name: str) -> Item:
    if not isinstance(fields, list) or len(fields) < 2:
        raise NotUnderstood(f"an item of {name} is no list of number, prompt_id, ...")
    number, prompt_id = fields[0], fields[1]
    if not isinstance(prompt_id, str):
        raise NotUnderstood(f"an item of {name} has a prompt_id that is no text")
    if isinstance(number, bool) or not isinstance(number, int | float | None):
        raise NotUnderstood(f"an item of {name} has a number that is none")
    try:
        # A client may ask for the number Infinity, which is read as null: it runs last.
        order = math.inf if number is None else float(number)
    except OverflowError:
        raise NotUnderstood(f"an item of {name} has a number beyond all bounds") from None
    return Item(order, prompt_id, outputs_to_execute(fields))


class _Lifecycle(Struct, frozen=True):
    """The lifecycle messages of one prompt, in order: name and details."""

    messages: list[tuple[str, dict[str, object]]]

    def last(self, *names: str) -> dict[str, object] | None:
        found = [details for name, details in self.messages if name in names]
        return found[-1] if found else None

    def nodes(self, field: str, *names: str) -> tuple[str, ...]:
        found = as_texts(as_list((self.last(*names) or {}).get(field)))
        return tuple(as_name(node) for node in found[:NODES_LIMIT])

    def time_ms(self, *names: str) -> int | None:
        details = self.last(*names)
        time_ms = as_whole(details.get("timestamp")) if details is not None else None
        return time_ms if time_ms is not None and 0 <= time_ms <= LAST_DATE_MS else None


def read_history(body: object, prompt_id: str) -> Ended | None:
    """Read the value of GET /history/{id}; None for an empty object: there is no such entry.

    Raises NotUnderstood for anything but an empty object or one with the prompt's entry, and for
    an entry that names another prompt.
    """
    if not isinstance(body, dict):
        raise NotUnderstood("the history is no object")
    if not body:
        return None
    entry = body.get(prompt_id)
    if not isinstance(entry, dict):
        raise NotUnderstood("the history holds something else than the prompt's entry")
    _refuse_other_prompt(entry, prompt_id)
    return _interpret(entry)


def _refuse_other_prompt(entry: dict[str, object], prompt_id: str) -> None:
    """Raise NotUnderstood where the entry, or one of its messages, names another prompt."""
    item = as_list(entry.get("prompt"))
    lifecycle = _read_lifecycle(as_object(entry.get("status")))
    named = [item[1]] if len(item) > 1 else []
    named += [details["prompt_id"] for _, details in lifecycle.messages if "prompt_id" in details]
    if any(isinstance(name, str) and name != prompt_id for name in named):
        raise NotUnderstood("the history entry speaks of another prompt")


def unreadable_end(why: str) -> Ended:
    """Return the end of a prompt whose entry exists but which the server cannot turn into JSON."""
    failure = Failure(
        code="unreadable_outputs",
        message=f"ComfyUI ran the prompt to its end but cannot tell its outputs: {why}",
    )
    return _ended(failure=failure)


def _interpret(entry: dict[str, object]) -> Ended:
    status = as_object(entry.get("status"))
    lifecycle = _read_lifecycle(status)
    word = status.get("status_str")
    # Servers that leave the word out say `completed`, which ComfyUI sets for a success only.
    succeeded = word == "success" or (word is None and status.get("completed") is True)
    interrupted = not succeeded and (
        word == "cancelled" or lifecycle.last("execution_interrupted") is not None
    )
    return _ended(
        succeeded=succeeded,
        interrupted=interrupted,
        outputs=_read_outputs(entry),
        outputs_reused=succeeded and _is_reused(entry, lifecycle),
        failure=None if succeeded or interrupted else _read_failure(lifecycle),
        executed=lifecycle.nodes("executed", "execution_error", "execution_interrupted"),
        cached=lifecycle.nodes("nodes", "execution_cached"),
        started_at_ms=lifecycle.time_ms("execution_start"),
        ended_at_ms=lifecycle.time_ms(
            "execution_success", "execution_error", "execution_interrupted"
        ),
    )


def _ended(
    *,
    succeeded: bool = False,
    interrupted: bool = False,
    outputs: Outputs | None = None,
    outputs_reused: bool = False,
    failure: Failure | None = None,
    started_at_ms: int | None = None,
    ended_at_ms: int | None = None,
    executed: tuple[str, ...] = (),
    cached: tuple[str, ...] = (),
) -> Ended:
    return Ended(
        succeeded=succeeded,
        interrupted=interrupted,
        outputs=outputs or {},
        outputs_reused=outputs_reused,
        failure=failure,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        executed=executed,
        cached=cached,
    )


def _read_lifecycle(status: dict[str, object]) -> _Lifecycle:
    pairs = (pair for pair in as_list(status.get("messages")) if isinstance(pair, list))
    return _Lifecycle([(as_text(pair[0]), as_object(pair[1])) for pair in pairs if len(pair) == 2])


def _read_outputs(entry: dict[str, object]) -> Outputs:
    outputs = as_object(entry.get("outputs"))
    return {node: output for node, output in outputs.items() if isinstance(output, dict)}


def _is_reused(entry: dict[str, object], lifecycle: _Lifecycle) -> bool:
    """Whether every output node was answered from the cache: no new file was written."""
    cached = lifecycle.last("execution_cached") or {}
    wanted = outputs_to_execute(as_list(entry.get("prompt"))) or _read_outputs(entry).keys()
    return bool(wanted) and wanted <= set(as_texts(cached.get("nodes")))


def _read_failure(lifecycle: _Lifecycle) -> Failure:
    error = lifecycle.last("execution_error")
    if error is None:
        return Failure(
            code="execution_error", message="ComfyUI's history does not say why it ended"
        )
    kind, message = as_name(error.get("exception_type")), as_text(error.get("exception_message"))
    node, node_class = as_name(error.get("node_id")), as_name(error.get("node_type"))
    is_out_of_memory = _is_out_of_memory(kind, message)
    return Failure(
        code="out_of_memory" if is_out_of_memory else "execution_error",
        message=f"{node_class or 'a node'} (node {node or '?'}) raised "
        f"{kind or 'an error'}: {message.strip()}"[:MESSAGE_LIMIT],
        node=node or None,
        node_class=node_class or None,
        retryable=is_out_of_memory,
        exception_type=kind or UNSET,
        traceback=_end_of(as_texts(as_list(error.get("traceback")))) or UNSET,
        executed=lifecycle.nodes("executed", "execution_error") or UNSET,
        cached=lifecycle.nodes("nodes", "execution_cached") or UNSET,
    )


def _end_of(lines: Sequence[str]) -> str:
    """Return the end of a traceback in whole lines, without what looks like a secret."""
    text = "".join(lines)
    # Masked before it is cut, so that no secret is cut in two.
    read = _last_lines(text, 4 * TRACEBACK_LIMIT_BYTES)
    return _last_lines(masked_text(read), TRACEBACK_LIMIT_BYTES)


def _last_lines(text: str, limit_bytes: int) -> str:
    content = text.encode()
    if len(content) <= limit_bytes:
        return text
    return content[-limit_bytes:].decode(errors="ignore").partition("\n")[2]


def _is_out_of_memory(kind: str, message: str) -> bool:
    # torch.OutOfMemoryError, torch.cuda.OutOfMemoryError, MemoryError; on some devices it is a
    # RuntimeError with these words.
    return "OutOfMemory" in kind or kind == "MemoryError" or "out of memory" in message.lower()
