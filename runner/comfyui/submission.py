"""POSTs one attempt once, and holds back the last byte until `may_send` was asked.

Rule: sent at most once, over a new connection: an idle one may be dropped at the moment of the
POST, which would leave the outcome open. ComfyUI queues a prompt only when it has the whole body
(seen on 0.3.64), so nothing is queued before the last byte is sent. After it, only an acceptance
or a validation error of ComfyUI's own says anything: whatever else a gateway answers, the prompt
may be queued behind it. A `number` is never sent: equal numbers kill ComfyUI's worker thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import msgspec
from msgspec import Struct

from everfold.runner import loose_json
from everfold.runner.access.address import without_secrets
from everfold.runner.backend import Accepted, Ambiguous, Attempt, Rejected, SubmitOutcome, Withheld
from everfold.runner.comfyui.boot import OLDEST
from everfold.runner.comfyui.http import Answer, explain, read_answer
from everfold.runner.comfyui.node_errors import (
    is_rejection,
    read_problems,
    read_rejection,
    speaks_of_server,
)
from everfold.streams.appending.body import TARGETS
from everfold.streams.border.secrets import redacted
from everfold.streams.events.event import Failure

REFUSING = frozenset({401, 402, 403, 404, 405, 407, 410, 429, 451})
"""Statuses below 500 that speak of the access to the server, and not of what was sent."""


IGNORES_ID = f"it ignores the prompt_id; Everfold needs ComfyUI {OLDEST} or newer"

ID_LIMIT = 200
"""Characters of an id that a server chooses: what is longer is not sent back to it."""


class AcceptedAs(Ambiguous, frozen=True):
    """The server has queued the attempt under an id of its own, by which nothing finds it again."""

    prompt_id: str = ""
    """That id; empty where it is none that could be sent back."""


class _Refused(Exception):
    """`may_send` returned False."""


class _Body:
    """The request's bytes in two pieces, the second of them one byte long."""

    def __init__(self, content: bytes, may_send: Callable[[], bool]) -> None:
        self.content = content
        self.may_send = may_send
        self.is_complete = False
        """True from the moment at which the last byte is given to the connection."""

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.content[:-1]
        if not self.may_send():
            raise _Refused
        self.is_complete = True
        yield self.content[-1:]


class _Extra(Struct, frozen=True):
    """Sent as extra_data and shown by /queue and /history: which job the prompt belongs to."""

    job_id: str
    attempt: int


def request_body(attempt: Attempt, workflow: bytes) -> bytes:
    """Return the JSON body of POST /prompt, with the workflow's bytes unchanged in it."""
    beside: dict[str, object] = {"prompt_id": attempt.prompt_id, "client_id": attempt.client_id}
    extra = {**attempt.extra_data, "everfold": _Extra(attempt.job_id, attempt.number)}
    if (targets := extra.pop(TARGETS, None)) is not None:
        beside[TARGETS] = targets
    extra |= {name: key.reveal() for name, key in attempt.partner_keys.items()}
    rest = msgspec.json.encode({**beside, "extra_data": extra})
    return b'{"prompt":%b,%b' % (workflow, rest[1:])


def refuse_workflow(workflow: bytes) -> Rejected | None:
    """Return a rejection for a workflow that is no JSON object, else None.

    ComfyUI would answer it with a 500, which gives no reason.
    """
    try:
        if isinstance(loose_json.read(workflow), dict):
            return None
        why = "it is not a JSON object"
    except ValueError as error:
        why = f"it is not JSON ({error})"
    return Rejected(Failure(code="invalid_workflow", message=f"The workflow cannot be sent: {why}"))


async def post(
    client: httpx.AsyncClient,
    attempt: Attempt,
    workflow: bytes,
    may_send: Callable[[], bool],
    *,
    timeout_s: float,
) -> SubmitOutcome:
    """POST the attempt once and return the outcome; raises nothing for trouble of the network.

    `timeout_s` limits the whole call. Withheld: the last byte was not sent. Ambiguous: it was,
    and the answer proves nothing.
    """
    if (refusal := refuse_workflow(workflow)) is not None:
        return refusal
    body = _Body(request_body(attempt, workflow), may_send)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body.content))}
    try:
        request = client.build_request("POST", "/prompt", content=body.pieces(), headers=headers)
        with anyio.fail_after(timeout_s):
            answer = await read_answer(client, request)
        outcome = read_outcome(answer, attempt.prompt_id, is_complete=body.is_complete)
    except _Refused:
        return Withheld("the runner took the attempt back before its last byte was sent")
    except Exception as error:  # a server can make the client raise nearly anything
        why = f"POST /prompt: {without_secrets(explain(error), client.headers)}"
        outcome = Ambiguous(why) if body.is_complete else Withheld(why)
    # A server, or what stands before it, may repeat what it was sent.
    return redacted(outcome, attempt.partner_keys.values())


def read_outcome(answer: Answer, prompt_id: str, *, is_complete: bool = True) -> SubmitOutcome:
    """Return the outcome that an answer to POST /prompt means (seen on ComfyUI 0.3.64)."""
    body = loose_json.as_object(answer.json())
    if answer.status == 200 and body.get("prompt_id") == prompt_id:
        return _read_acceptance(body)
    if answer.status == 200 and isinstance(other := body.get("prompt_id"), str):
        why = f"POST /prompt: {IGNORES_ID}"
        return AcceptedAs(why, refuses=True, prompt_id=other if len(other) <= ID_LIMIT else "")
    if answer.status == 400 and is_rejection(body):
        return Rejected(read_rejection(body), of_server=speaks_of_server(body))
    why = f"POST /prompt answered {answer.status}: {answer.excerpt()}"
    if answer.status == 413:
        # Too large for this server, or what stands before it: waiting makes the graph no smaller.
        return Rejected(Failure(code="submit_rejected", message=why), of_server=True)
    refuses = _refuses(answer.status)
    return Ambiguous(why, refuses) if is_complete else Withheld(why, refuses)


def _refuses(status: int) -> bool:
    """Return whether a status says that the server, or a gateway before it, takes no submits."""
    return 300 <= status < 400 or status in REFUSING or status >= 500


def _read_acceptance(body: dict[str, object]) -> Accepted:
    # The server's own counter is an integer; a number that a client asked for comes as a float.
    number = body.get("number")
    counted = loose_json.as_whole(number) if isinstance(number, int) else None
    return Accepted(counted, read_problems(body.get("node_errors")))
