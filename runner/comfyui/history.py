"""What ComfyUI's history says about a prompt that has ended.

Rule: pure and total. An entry is there only when the prompt has ended, so whatever it holds becomes
an `Ended`. Source: ComfyUI 0.3.64, GET /history: an interrupt has the status `error` and is
told apart by its message; outputs saved before a failure are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from everfold.runner.backend import Ended
from everfold.runner.comfyui.loose_json import as_list, as_object, as_text, as_texts, as_whole
from everfold.streams.events.event import Failure, Outputs

MESSAGE_LIMIT = 2000
"""Characters of an exception's text that are kept: some carry whole tensors."""


class _Story(Struct, frozen=True):
    """The five lifecycle messages of one prompt, by name."""

    said: list[tuple[str, dict[str, object]]]

    def last(self, *names: str) -> dict[str, object] | None:
        told = [details for name, details in self.said if name in names]
        return told[-1] if told else None

    def time_ms(self, *names: str) -> int | None:
        details = self.last(*names)
        return as_whole(details.get("timestamp")) if details is not None else None


def read_history(body: object, prompt_id: str) -> Ended | None:
    """Interpret the body of GET /history/{id}; None when it does not hold the prompt."""
    bodies = as_object(body)
    return _interpret(as_object(bodies[prompt_id])) if prompt_id in bodies else None


def unreadable(why: str) -> Ended:
    """Return the end of a prompt whose entry exists but cannot be served."""
    failure = Failure(
        code="unreadable_outputs",
        message=f"ComfyUI ran the prompt to its end but cannot tell its outputs: {why}",
    )
    return _ended(failure=failure)


def _interpret(entry: dict[str, object]) -> Ended:
    status = as_object(entry.get("status"))
    story = _read_story(status)
    succeeded = status.get("status_str") == "success"
    interrupted = not succeeded and story.last("execution_interrupted") is not None
    return _ended(
        succeeded=succeeded,
        interrupted=interrupted,
        outputs=_read_outputs(entry),
        outputs_reused=succeeded and _is_reused(entry, story),
        failure=None if succeeded or interrupted else _read_failure(story),
        started_at_ms=story.time_ms("execution_start"),
        ended_at_ms=story.time_ms("execution_success", "execution_error", "execution_interrupted"),
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
) -> Ended:
    return Ended(
        succeeded=succeeded,
        interrupted=interrupted,
        outputs=outputs or {},
        outputs_reused=outputs_reused,
        failure=failure,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
    )


def _read_story(status: dict[str, object]) -> _Story:
    pairs = (pair for pair in as_list(status.get("messages")) if isinstance(pair, list))
    return _Story([(as_text(pair[0]), as_object(pair[1])) for pair in pairs if len(pair) == 2])


def _read_outputs(entry: dict[str, object]) -> Outputs:
    outputs = as_object(entry.get("outputs"))
    return {node: output for node, output in outputs.items() if isinstance(output, dict)}


def outputs_to_execute(item: Sequence[object]) -> frozenset[str]:
    """Return the output nodes of a queue item or of a history entry's `prompt`."""
    return frozenset(as_texts(item[4])) if len(item) > 4 else frozenset()


def _is_reused(entry: dict[str, object], story: _Story) -> bool:
    """True when every output node was answered from the cache: no new file was written."""
    told = story.last("execution_cached") or {}
    wanted = outputs_to_execute(as_list(entry.get("prompt"))) or _read_outputs(entry).keys()
    return bool(wanted) and wanted <= set(as_texts(told.get("nodes")))


def _read_failure(story: _Story) -> Failure:
    told = story.last("execution_error")
    if told is None:
        return Failure(
            code="execution_error", message="ComfyUI's history says error, without saying why"
        )
    kind, words = as_text(told.get("exception_type")), as_text(told.get("exception_message"))
    node, node_class = as_text(told.get("node_id")), as_text(told.get("node_type"))
    is_out_of_memory = _is_out_of_memory(kind, words)
    return Failure(
        code="out_of_memory" if is_out_of_memory else "execution_error",
        message=f"{node_class or 'a node'} (node {node or '?'}) raised "
        f"{kind or 'an error'}: {words.strip()}"[:MESSAGE_LIMIT],
        node=node or None,
        node_class=node_class or None,
        retryable=is_out_of_memory,
    )


def _is_out_of_memory(kind: str, words: str) -> bool:
    # torch.OutOfMemoryError, torch.cuda.OutOfMemoryError, MemoryError; some devices only say so
    # in the words of a RuntimeError.
    return "OutOfMemory" in kind or kind == "MemoryError" or "out of memory" in words.lower()
