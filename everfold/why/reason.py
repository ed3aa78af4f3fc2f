"""Why a job waits, or does what it does: one word and one sentence, from facts that are at hand.

Rule: pure. The rules stand in the order in which they decide: the first that holds is the reason.
docs/REASONS.md explains each code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from everfold.durations import duration_text
from everfold.projector.job.job import Job
from everfold.streams.border.plain import Plain

WhyCode = Literal[
    "ended",
    "unreadable",
    "canceling",
    "runner_gone",
    "stopping",
    "running",
    "at_server",
    "starting",
    "retry",
    "not_before",
    "queue_paused",
    "no_runner",
    "at_limit",
    "nothing_fits",
    "no_backend",
    "behind_others",
    "next",
]

SILENT_S = 10.0
"""A runner that was not heard of for so long may be dead; it writes every 2 s."""
NAMED_BACKENDS = 3
"""Backends that one sentence names."""
SENTENCE_LIMIT = 500
"""Characters; what others wrote into it may be of any length."""


class Why(Plain, Struct, frozen=True, kw_only=True):
    """Why a job waits, or does what it does."""

    code: WhyCode
    sentence: str
    """One line for people, without the job's id; its words may change."""
    details: dict[str, str | int | float] = {}
    """The values in the sentence, by name; times have their unit."""


class ServingRunner(Struct, frozen=True):
    """A registered runner."""

    name: str
    unseen_s: float
    """Since when it has not been heard of."""
    serves: bool
    """Whether it serves the job's queue and does not drain."""


class KnownBackend(Struct, frozen=True):
    """A backend of the runners that serve the job's queue."""

    name: str
    why: str = ""
    """Why it takes no jobs, empty while it does."""
    can_run: bool = True
    """Whether it has all that the job needs, as far as it is known."""


class Count(Struct, frozen=True):
    """How many jobs of a queue, user or kind run, and how many may."""

    scope: str
    name: str
    running: int
    limit: int


class Facts(Struct, frozen=True, kw_only=True):
    """What the reason is decided by."""

    job: Job
    now_ms: int
    """Server time, Unix ms."""
    due_ms: int = 0
    """Until when the job waits for a time, 0 while it does not."""
    is_blocked: bool = False
    """A runner could not read it, or this program cannot."""
    paused_by: str = ""
    pause_reason: str = ""
    runners: tuple[ServingRunner, ...] = ()
    limits: tuple[Count, ...] = ()
    missing: str = ""
    """What no backend has, as a sentence; empty where one can run the job."""
    backends: tuple[KnownBackend, ...] = ()
    at: str = ""
    """What people call the backend of the job's attempt."""
    at_why: str = ""
    """Why that one takes no jobs, or is not reached."""
    at_busy: int = 0
    """Prompts that run or wait there."""
    position: int | None = None
    """How many jobs of the queue stand before it."""


def reason(facts: Facts) -> Why:
    """Return the first reason that holds."""
    if facts.job.is_terminal:
        return _ended(facts.job)
    found = next(_of_attempt(facts), None) or next(_of_waiting(facts), None)
    return found or _in_order(facts)


def _why(code: WhyCode, sentence: str, **details: str | int | float) -> Why:
    line = " ".join(sentence.split())
    cut = line if len(line) <= SENTENCE_LIMIT else f"{line[: SENTENCE_LIMIT - 3]}..."
    return Why(code=code, sentence=cut, details=details)


def _ended(job: Job) -> Why:
    failed = job.error if job.status == "failed" else None
    told = f"{failed.code}: {failed.message}" if failed else job.reason
    code = failed.code if failed else job.reason
    sentence = (
        f"it has {job.status}"
        if job.status in ("succeeded", "failed", "expired")
        else ("it was canceled")
    )
    return _why("ended", f"{sentence}: {told}" if told else sentence,
                status=job.status, reason=code)  # fmt: skip


def _of_attempt(facts: Facts) -> Iterator[Why]:
    """Yield the reasons that concern a job which a runner or a backend has, and canceling."""
    job, at = facts.job, facts.at or facts.job.backend
    if facts.is_blocked or job.unreadable_seq:
        sentence = "the runners that are here cannot read one of its events: upgrade them"
        yield _why("unreadable", sentence, seq=job.unreadable_seq)
    if job.is_canceling:
        since_s = _since_s(facts, job.cancel_requested_at_ms)
        place = f": its prompt is at {at}{_trouble(facts)}" if job.may_be_alive and at else ""
        yield _why("canceling", f"canceling for {_span(since_s)}{place}", since_s=since_s)
    owner = next((one for one in facts.runners if one.name == job.owner), None)
    if job.owner and owner is not None and owner.unseen_s >= SILENT_S:
        heard = f"runner {job.owner}, which has it, was last heard of {_span(owner.unseen_s)} ago"
        yield _why("runner_gone", f"{heard}; another one takes it over", runner=job.owner,
                   unseen_s=round(owner.unseen_s))  # fmt: skip
    if not job.may_be_alive or not at:
        if job.owner and not facts.due_ms and job.attempt_state != "over":
            yield _why("starting", f"runner {job.owner} has it and chooses a server",
                       runner=job.owner)  # fmt: skip
        return
    if not job.owner and not any(_lives(one) for one in facts.runners if one.serves):
        return  # nobody follows its prompt
    if job.stopping:
        since_s = _since_s(facts, job.stopping_at_ms)
        sentence = f"its prompt at {at} is being stopped for {_span(since_s)}: {job.stopping}"
        yield _why("stopping", f"{sentence}{_trouble(facts)}", backend=at, reason=job.stopping,
                   since_s=since_s)  # fmt: skip
    if job.started_at_ms and job.attempt_state == "accepted":
        since_s = _since_s(facts, job.started_at_ms)
        node = f", {job.progress:.0%}" if job.progress else ""
        left_s = job.left_at_s(facts.now_ms)
        left = f", about {_span(left_s)} left" if left_s else ""
        yield _why("running", f"running on {at} for {_span(since_s)}{node}{left}{_trouble(facts)}",
                   backend=at, since_s=since_s)  # fmt: skip
    if job.attempt_state == "accepted":
        queue = f", where {facts.at_busy} prompts run or wait" if facts.at_busy > 1 else ""
        yield _why("at_server", f"it waits in the own queue of {at}{queue}{_trouble(facts)}",
                   backend=at, prompts=facts.at_busy)  # fmt: skip
    yield _why("starting", f"it is being sent to {at}{_trouble(facts)}", backend=at)


def _of_waiting(facts: Facts) -> Iterator[Why]:
    """Yield the reasons why nobody takes a job that waits."""
    yield from _of_time(facts)
    job, queue = facts.job, facts.job.queue
    if facts.paused_by:
        more = f" ({facts.pause_reason})" if facts.pause_reason else ""
        yield _why("queue_paused", f"queue {queue} is paused by {facts.paused_by}{more}",
                   queue=queue, actor=facts.paused_by, reason=facts.pause_reason)  # fmt: skip
    serving = [one for one in facts.runners if one.serves]
    if not any(map(_lives, serving)):
        sentence = f"no runner serves queue {queue}"
        if serving:
            newest = min(serving, key=lambda one: one.unseen_s)
            sentence += f": {newest.name} was last heard of {_span(newest.unseen_s)} ago"
        yield _why("no_runner", sentence, queue=queue)
    for one in facts.limits:
        if one.running >= one.limit:
            sentence = f"at its limit: {one.scope} {one.name} runs {one.running} of {one.limit}"
            yield _why("at_limit", sentence, scope=one.scope, name=one.name, running=one.running,
                       limit=one.limit)  # fmt: skip
    if facts.missing:
        yield _why("nothing_fits", facts.missing, missing=facts.missing)
    able = [one for one in facts.backends if one.can_run]
    if able and all(one.why for one in able):
        told = [f"{one.name} takes no jobs: {one.why}" for one in able[:NAMED_BACKENDS]]
        more = f"; and {len(able) - NAMED_BACKENDS} more" if len(able) > NAMED_BACKENDS else ""
        yield _why("no_backend", "; ".join(told) + more, backends=len(able),
                   backend=able[0].name, why=able[0].why)  # fmt: skip
    if not facts.backends and not job.owner:
        names = ", ".join(one.name for one in serving[:NAMED_BACKENDS])
        yield _why("no_backend", f"runner {names} has no backend", backends=0)


def _of_time(facts: Facts) -> Iterator[Why]:
    """Yield the moment for which a job waits, unless something is missing for it everywhere."""
    job, left_s = facts.job, (facts.due_ms - facts.now_ms) / 1000
    if left_s <= 0:
        return
    if job.error is not None and (job.retried or job.attempt):
        failure = f"{job.error.code}: {job.error.message}"
        yield _why("retry", f"retry in {_span(left_s)} after {failure}", in_s=round(left_s, 1),
                   failure=job.error.code)  # fmt: skip
    elif job.attempt:
        yield _why("retry", f"retry in {_span(left_s)} after {job.reason or 'a lost attempt'}",
                   in_s=round(left_s, 1), failure=job.reason)  # fmt: skip
    elif job.run_at_ms > facts.now_ms:
        sentence = f"it starts in {_span(left_s)}, not before its time"
        yield _why("not_before", sentence, in_s=round(left_s, 1), at_ms=facts.due_ms)


def _in_order(facts: Facts) -> Why:
    """Return where a job stands that nothing keeps from being taken."""
    queue, ahead = facts.job.queue, facts.position
    if ahead:
        others = f"{ahead} other{'s' if ahead > 1 else ''}"
        return _why("behind_others", f"all servers are busy: it stands behind {others} in queue "
                    f"{queue}", position=ahead, queue=queue)  # fmt: skip
    sentence = f"it is the next in queue {queue}: a runner takes it when a server has room"
    return _why("next", sentence, position=0, queue=queue)


def _lives(runner: ServingRunner) -> bool:
    return runner.unseen_s < SILENT_S


def _trouble(facts: Facts) -> str:
    return f"; {facts.at_why}" if facts.at_why else ""


def _since_s(facts: Facts, time_ms: int) -> float:
    return round(max(0.0, (facts.now_ms - time_ms) / 1000), 1) if time_ms else 0.0


def _span(seconds: float) -> str:
    """Return a time span as all output writes it; less than a second counts as none."""
    return duration_text(seconds if seconds >= 1 else 0)
