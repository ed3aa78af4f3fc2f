"""What a request is answered with when it is not done, before a contract puts it into its words.

Rule: every error of Everfold is mapped here, once. A code is a word for programs and never changes
its meaning; a message is a sentence for people, with what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import (
    ArchiveUnavailable,
    AssetGone,
    AssetsUnavailable,
    Conflict,
    CorruptLog,
    EverfoldError,
    HashMismatch,
    IdempotencyConflict,
    InvalidWorkflow,
    LeaseLost,
    Misconfigured,
    NoServerCanRun,
    QueueFull,
    QuotaFull,
    Refused,
    ServerUnreachable,
    TooLarge,
    Unavailable,
    Unknown,
)

logger = get_logger("everfold.web")

AWAY_RETRY_S = 2
"""Seconds after which a client is to ask again while Redis is away."""
FULL_RETRY_S = 5
"""Seconds after which a client is to ask again where a queue is full."""


class Problem(Exception):
    """An answer that is no success. Routes raise it; each contract has its own form for it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


_MAPPED: tuple[tuple[type[EverfoldError], int, str, int | None], ...] = (
    (Unknown, 404, "not_found", None),
    (QueueFull, 429, "queue_full", FULL_RETRY_S),
    (Conflict, 409, "conflict", None),
    (InvalidWorkflow, 422, "invalid_workflow", None),
    (NoServerCanRun, 422, "invalid_workflow", None),
    (IdempotencyConflict, 422, "idempotency_key_reuse", None),
    (HashMismatch, 409, "hash_mismatch", None),
    (QuotaFull, 413, "quota_full", None),
    (TooLarge, 413, "too_large", None),
    (Refused, 422, "invalid_request", None),
    (Unavailable, 503, "unavailable", AWAY_RETRY_S),
    (LeaseLost, 409, "conflict", None),
    (CorruptLog, 503, "unreadable", None),
    (Misconfigured, 503, "misconfigured", None),
    (EverfoldError, 503, "unavailable", AWAY_RETRY_S),
)
"""The first row that fits counts: leaves stand before their branch."""


_TOLD: tuple[tuple[type[EverfoldError], str], ...] = (
    (ServerUnreachable, "the gateway cannot reach its Redis now: repeat the request in a moment"),
    (AssetGone, "the bytes of this file are no longer in the gateway's store"),
    (AssetsUnavailable, "the gateway's store of files cannot be used now: repeat it in a moment"),
    (ArchiveUnavailable, "the gateway cannot use its archive now: repeat the request in a moment"),
    (Misconfigured, "the gateway needs a file, or a setting, that is not right: see its log"),
)
"""Where Redis, files and the archive are, and why they are away, is in the gateway's own log and is
not told to its clients."""


def problem_of(error: Exception) -> Problem | None:
    """Return what an error means to the caller; None for one that nobody has foreseen."""
    if isinstance(error, Problem):
        return error
    for kind, status, code, retry_after_s in _MAPPED:
        if isinstance(error, kind):
            return Problem(status, code, _told(error), retry_after_s=retry_after_s)
    return None


def _told(error: EverfoldError) -> str:
    for kind, told in _TOLD:
        if isinstance(error, kind):
            logger.warning("request_not_done error=%s why=%r", type(error).__name__, str(error))
            return told
    return str(error)
