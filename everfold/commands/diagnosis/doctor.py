"""`everfold doctor`: is everything as it should be, and what to change if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from everfold.commands.diagnosis.backend_check import asked_backends
from everfold.commands.diagnosis.stored_keys import wrong_keys
from everfold.commands.options import ComfyUrls
from everfold.commands.session import DEFAULT, Session
from everfold.diagnosis.examination import RESTORE, examine
from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.web.access.key_check import key_findings


async def doctor(*, comfyui: ComfyUrls = None, session: Session = DEFAULT) -> int:
    """Check server, namespace, projector, runners, queues and backends, and say what to change.

    Each ComfyUI that a runner has, or that is named or set here, is asked. The exit code is 1 when
    something must be changed; the last column says what.
    """
    async with session.log() as log:
        findings = [finding async for finding in _examine(log, comfyui)]
    session.show(
        findings,
        {
            "": lambda finding: ("✗", "red") if finding.advice else ("✓", "green"),
            "what": lambda finding: finding.what,
            "found": lambda finding: finding.found,
            "change": lambda finding: finding.advice,
        },
        wrap=("what", "found", "change"),
    )
    return 1 if any(finding.advice for finding in findings) else 0


async def _examine(log: Log, comfyui: list[str] | None = None) -> AsyncIterator[Finding]:
    before = {"backends": partial(_backends, given=comfyui)}
    after = {"gateway keys": key_findings, "stored keys": _stored_keys}
    async for finding in examine(log, before, after):
        yield finding


async def _backends(log: Log, given: list[str] | None) -> AsyncIterator[Finding]:
    async for asked in asked_backends(log, given):
        yield Finding(f"comfyui {asked.shown}", asked.found, asked.advice)


async def _stored_keys(log: Log) -> AsyncIterator[Finding]:
    async for wrong in wrong_keys(log):
        yield Finding(f"key {wrong.key}", wrong.found, RESTORE)
