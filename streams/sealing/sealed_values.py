"""Seals the parts of events that are a user's content, and opens them again, wherever they stand.

Rule: pure. What is sealed already stays as it is. Words for programs, ids, times, sizes and
hashes are never sealed: the fold, lists and retries work on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from everfold.streams.border.sealed_form import (
    SEALED,
    as_object,
    as_text,
    is_sealed,
    key_id_of,
    sealed_text,
)
from everfold.streams.events.event import (
    AssetInput,
    Canceled,
    CancelRequested,
    Event,
    Failed,
    Failure,
    Lost,
    NodeProblem,
    Outputs,
    OutputSaved,
    Queued,
    Released,
    Retried,
    Submitted,
    Succeeded,
)
from everfold.streams.events.json_text import NotJson, read_json

NOT_GIVEN = "it is sealed, and this process has not the key: set EVERFOLD_SEAL_KEY for it"
BROKEN = "it is sealed, and the stored key of its user was damaged"
"""Why a runner releases a job that it cannot read. They hold nothing of a user, and stay plain: who
says so has no key to seal them with."""

T = TypeVar("T")

Seal = Callable[[bytes], str]
"""Seals the JSON of a value: returns `<key id>.<base64url>`."""

Open = Callable[[str], bytes | str]
"""Opens what a Seal returned: the JSON, or a word that says why it cannot be opened."""

_encode = msgspec.json.Encoder().encode
_encode_in_order = msgspec.json.Encoder(order="deterministic").encode


def has_content(event: Event) -> bool:
    """Say whether an event has anything that is to be sealed."""
    match event:
        case Submitted() | OutputSaved() | Failed() | Retried():
            return True
        case Succeeded():
            return bool(event.outputs)
        case Canceled():
            return bool(event.outputs or event.reason)
        case CancelRequested():
            return bool(event.reason)
        case Queued():
            return bool(event.problems)
        case Lost():
            return event.failure is not None
        case Released():
            return bool(event.why) and event.why not in (NOT_GIVEN, BROKEN)
        case _:
            return False


def sealed_event(event: Event, seal: Seal) -> Event:
    """Return the event with its content sealed."""
    match event:
        case Submitted():
            names = {place: _named(one, seal) for place, one in (event.inputs or {}).items()}
            metadata, url = _object(event.metadata, seal), _text(event.callback or "", seal)
            return replace(event, metadata=metadata, inputs=names or UNSET, callback=url or UNSET)
        case OutputSaved():
            return replace(event, output=_object(event.output, seal))
        case Succeeded():
            return replace(event, outputs=_outputs(event.outputs, seal))
        case Failed():
            outputs, failure = _outputs(event.outputs, seal), _failure(event.failure, seal)
            return replace(event, outputs=outputs, failure=failure)
        case Canceled():
            outputs, reason = _outputs(event.outputs, seal), _text(event.reason, seal)
            return replace(event, outputs=outputs, reason=reason)
        case Retried():
            return replace(event, failure=_failure(event.failure, seal))
        case Lost() if event.failure is not None:
            return replace(event, failure=_failure(event.failure, seal))
        case Queued():
            return replace(event, problems=_problems(event.problems, seal))
        case CancelRequested():
            return replace(event, reason=_text(event.reason, seal))
        case Released() if event.why:
            return replace(event, why=_text(event.why, seal))
        case _:
            return event


def _object(value: dict[str, object], seal: Seal) -> dict[str, object]:
    return value if is_sealed(value) else as_object(seal(_encode_in_order(value)))


def _named(found: AssetInput, seal: Seal) -> AssetInput:
    return replace(found, name=_text(found.name, seal))


def _outputs(outputs: Outputs, seal: Seal) -> Outputs:
    """Seal each node's outputs by themselves: the fold adds them one by one."""
    return {node: _object(output, seal) for node, output in outputs.items()}


def _text(text: str, seal: Seal) -> str:
    return text if not text or is_sealed(text) else as_text(seal(_encode(text)))


def _failure(failure: Failure, seal: Seal) -> Failure:
    trace = failure.traceback
    return replace(
        failure,
        message=_text(failure.message, seal),
        traceback=_text(trace, seal) if trace else trace,
        details=_problems(failure.details, seal),
    )


def _problems(problems: Sequence[NodeProblem], seal: Seal) -> list[NodeProblem]:
    return [replace(problem, message=_text(problem.message, seal)) for problem in problems]


def sealed_keys(value: object) -> Iterator[str]:
    """Yield the ids of the keys under which parts of a value are sealed."""
    match value:
        case str():
            if text := sealed_text(value):
                yield key_id_of(text)
        case Mapping():
            if text := sealed_text(value):
                yield key_id_of(text)
                return
            for part in value.values():
                yield from sealed_keys(part)
        case list() | tuple():
            for part in value:
                yield from sealed_keys(part)
        case Struct():
            for name in value.__struct_fields__:
                yield from sealed_keys(getattr(value, name))


def opened(value: T, open_text: Open) -> T:
    """Return a value with all its sealed parts opened.

    In the place of what cannot be opened there is `{"everfold_sealed": word}`, or `(word)` for a
    text, where the word is what `open_text` returned.
    """
    return cast("T", _opened(value, open_text))


def _opened(value: object, open_text: Open) -> object:
    match value:
        case str() if text := sealed_text(value):
            return _plain(open_text(text), str, lambda word: f"({word})")
        case dict() if text := sealed_text(value):
            return _plain(open_text(text), dict, lambda word: {SEALED: word})
        case dict():
            return {name: _opened(part, open_text) for name, part in value.items()}
        case list() | tuple():
            return type(value)([_opened(part, open_text) for part in value])
        case Struct():
            parts = {name: getattr(value, name) for name in value.__struct_fields__}
            found = {name: _opened(part, open_text) for name, part in parts.items()}
            changed = {name: part for name, part in found.items() if part != parts[name]}
            return replace(value, **changed) if changed else value
    return value


def _plain(found: bytes | str, kind: type, instead: Callable[[str], object]) -> object:
    if isinstance(found, str):
        return instead(found)
    try:
        plain = read_json(found)
    except NotJson:
        return instead("damaged")
    return plain if isinstance(plain, kind) else instead("damaged")
