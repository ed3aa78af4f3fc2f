"""Change the request; nothing was written."""

from __future__ import annotations

from everfold.streams.border.values import shown
from everfold.streams.errors.base import EverfoldError


class Refused(EverfoldError):
    """The request itself is wrong. Nothing was written."""


class InvalidWorkflow(Refused):
    """The workflow is not an API-format graph."""


class NoServerCanRun(Refused):
    """No server of the namespace has all that the workflow needs, or each would refuse it."""

    def __init__(
        self,
        why: str,
        node_errors: dict[str, dict[str, object]],
        error: dict[str, object] | None = None,
    ) -> None:
        """`node_errors` has ComfyUI's form: node id -> its `errors` and `class_type`; so has
        `error`, which is why the whole graph is refused."""
        super().__init__(why)
        self.why, self.node_errors, self.error = why, node_errors, error or {}


class TooLarge(Refused):
    """A part of the request is over its limit."""

    def __init__(self, what: str, size: int, limit: int, unit: str = "bytes") -> None:
        super().__init__(f"{what} has {size:,} {unit}; the limit is {limit:,} {unit}")
        self.what, self.size, self.limit, self.unit = what, size, limit, unit


class EventTooLarge(Refused):
    """The event's JSON is over the limit, and it has no outputs that could be left out."""

    def __init__(self, kind: str, size: int, limit: int) -> None:
        super().__init__(f"this {kind} event has {size:,} bytes; the limit is {limit:,} bytes")
        self.kind, self.size, self.limit = kind, size, limit


class EventTooNew(Refused):
    """Programs that work on this namespace could not read the event."""

    def __init__(self, kind: str, needed: int, level: int) -> None:
        cannot = f"{kind} needs readers of level {needed}, and this namespace has some of {level}"
        super().__init__(f"{cannot}; upgrade them, then run `everfold upgrade --commit`")
        self.kind, self.needed, self.level = kind, needed, level


class InvalidName(Refused):
    """A name or an id has characters or a length that keys cannot carry."""

    def __init__(self, what: str, value: object, rule: str) -> None:
        super().__init__(f"{what} {shown(value)} is not usable: {rule}")
        self.what, self.value, self.rule = what, value, rule


class IdempotencyConflict(Refused):
    """The idempotency key belongs to a job with other arguments, which `what` names."""

    def __init__(self, key: str, job_id: str, what: str = "workflow") -> None:
        used = f"idempotency key {key!r} was already used for job {job_id} with another {what}"
        super().__init__(f"{used}; send the same again or choose a new key")
        self.key, self.job_id, self.what = key, job_id, what


class EventIdForgotten(Refused):
    """The event may have been appended before: its id is old, and the log was trimmed since."""

    def __init__(self, job_id: str, event_id: str) -> None:
        gone = f"the log no longer has the first events of job {job_id}"
        super().__init__(f"{gone}, among which event {event_id!r} may be; append it with a new id")
        self.job_id, self.event_id = job_id, event_id


class ClientShared(Refused):
    """The client was opened in another event loop, or in the process that this one is a fork of."""

    def __init__(self, opened_in: str, used_in: str) -> None:
        both = f"this client was opened in {opened_in} and is used in {used_in}"
        super().__init__(f"{both}; open a client of its own in each event loop and process")
        self.opened_in, self.used_in = opened_in, used_in


class ClientClosed(Refused):
    """The client was closed before this call, or while it waited."""

    def __init__(self) -> None:
        super().__init__("this client was closed; make another one")


class SignatureInvalid(Refused):
    """A message is not one of Everfold, was changed on its way, or is too old."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NeedsAsyncio(Refused):
    """The caller runs under trio, or without an event loop."""

    def __init__(self) -> None:
        super().__init__("Everfold runs on asyncio only; use `asyncio.run`, or its anyio backend")


class HashMismatch(Refused):
    """The bytes are others than was said: nothing was stored."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"these bytes have {found}, not {expected}; nothing was stored")
        self.expected, self.found = expected, found


class QuotaFull(Refused):
    """The assets of one owner would need more room than its quota."""

    def __init__(self, owner: str, used_bytes: int, limit_bytes: int, wanted_bytes: int) -> None:
        whose = f"user {owner!r}" if owner else "what has no user"
        has = f"the quota of {whose} is {limit_bytes:,} bytes, of which {used_bytes:,} are used"
        super().__init__(f"{has}; {wanted_bytes:,} more do not fit: remove assets or raise it")
        self.owner, self.used_bytes = owner, used_bytes
        self.limit_bytes, self.wanted_bytes = limit_bytes, wanted_bytes


class InputRefused(Refused):
    """An input of a job cannot be taken: `where` names it, such as 10.image."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"input {where} is not taken: {why}")
        self.where, self.why = where, why
