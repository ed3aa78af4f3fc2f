"""Checks the signature of a message, and reads what it says of a job.

Rule: the bytes as they came are checked, before anything in them is read. Source:
standardwebhooks.com, the specification of version 1.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.projector.job.words import Status
from everfold.sinks.signing import read_secret, sign
from everfold.streams.border.plain import Plain
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import InvalidName, SignatureInvalid
from everfold.streams.events.event import Failure, Outputs
from everfold.streams.events.json_text import NotJson, decoder

TOLERANCE_S = 300.0
"""How old a message may be, or how far in the future, as the specification recommends."""

SIGNATURES_LIMIT = 20


class Headers(Protocol):
    """The headers of a request, as every framework has them."""

    def items(self) -> Iterable[tuple[str, str]]: ...


class Message(Plain, Struct, frozen=True, kw_only=True):
    """A message of Everfold, whose signature was right."""

    id: str
    """The same each time that it is sent: store it with what you do, and ignore a repeat."""
    type: str
    """Type of the event, such as job.succeeded; everfold.test for `everfold sink webhook test`."""
    at: datetime | None
    """When the event was stored."""
    job: Job | None
    """The job right after the event, as far as messages tell of it: its graph, queue and times of
    its attempts are not among that. None in a test message."""


class _Told(Struct, frozen=True):
    job_id: str
    seq: int
    status: str
    reason: str = ""
    kind: str = ""
    user_id: str = ""
    metadata: dict[str, object] = {}
    prompt_id: str = ""
    attempt: int = 0
    recovered: int = 0
    progress: float = 0.0
    outputs: Outputs = {}
    error: Failure | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class _Body(Struct, frozen=True):
    type: str
    timestamp: datetime | None = None
    data: dict[str, object] = {}


_read_body = decoder(_Body)


def verify(
    body: bytes,
    headers: Headers,
    secret: str | Secret | Sequence[str | Secret],
    *,
    tolerance_s: float = TOLERANCE_S,
) -> Message:
    """Return what a webhook or a callback says, once its signature is known to be right.

    `body` are the bytes of the request as they came, not JSON that was read and written again;
    `headers` are its headers, in upper or lower case. `secret` is `whsec_...`; give several while
    you change it. A message that is older than `tolerance_s` seconds, or as far in the future, is
    refused, so that a stolen one is soon worth nothing. Raises SignatureInvalid: answer 401; and
    Misconfigured for a secret that is none.
    """
    given = [secret] if isinstance(secret, str | Secret) else list(secret)
    secrets = [read_secret(one) for one in given]
    if not isinstance(body, bytes | bytearray | memoryview):
        raise InvalidName("body", type(body).__name__, "pass the bytes of the request as they came")
    name, stamp, signature = _headers(headers)
    _check_time(stamp, tolerance_s)
    body = bytes(body)
    expected = sign(secrets, name, int(stamp), body)["webhook-signature"].split()
    found = signature.split()[:SIGNATURES_LIMIT]
    # Each is compared with each, so that the time says nothing of which one was near.
    same = [hmac.compare_digest(a.encode(), b.encode()) for a in expected for b in found]
    if not any(same):
        raise SignatureInvalid("no signature of the message was made with this secret")
    return _message(name, body)


def _headers(headers: Headers) -> tuple[str, str, str]:
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    name, stamp, signature = (lower.get(f"webhook-{one}", "") for one in WANTED)
    if not (name and stamp and signature):
        raise SignatureInvalid("a header is missing: webhook-id, -timestamp and -signature")
    if not (name.isascii() and signature.isascii()):
        raise SignatureInvalid("its webhook-id or its webhook-signature is none of Everfold's")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise SignatureInvalid("its webhook-timestamp is no time")
    return name, stamp, signature


WANTED = ("id", "timestamp", "signature")


def _check_time(stamp: str, tolerance_s: float) -> None:
    away_s = time.time() - int(stamp)
    if not abs(away_s) <= tolerance_s:
        when = "old" if away_s > 0 else "in the future"
        raise SignatureInvalid(f"the message is {abs(away_s):.0f} s {when}; look at both clocks")


def _message(name: str, body: bytes) -> Message:
    try:
        read = _read_body(body)
        told = msgspec.convert(read.data, _Told) if "job_id" in read.data else None
    except (NotJson, msgspec.ValidationError) as error:
        raise SignatureInvalid(f"its body is no message of Everfold: {error}") from error
    return Message(id=name, type=read.type, at=read.timestamp, job=_job(told) if told else None)


def _job(told: _Told) -> Job:
    status: Status = told.status  # type: ignore[assignment]  # a newer version may have others
    return Job(
        job_id=told.job_id,
        seq=told.seq,
        status=status,
        reason=told.reason,
        kind=told.kind,
        user=told.user_id,
        metadata=told.metadata,
        prompt_id=told.prompt_id,
        attempt=told.attempt,
        recovered=told.recovered,
        progress=told.progress,
        outputs=told.outputs,
        error=told.error,
        submitted_at_ms=_ms(told.submitted_at),
        started_at_ms=_ms(told.started_at),
        ended_at_ms=_ms(told.ended_at),
    )


def _ms(time: datetime | None) -> int:
    return 0 if time is None else round(time.timestamp() * 1000)
