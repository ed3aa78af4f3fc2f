"""DESIGN §8 as a checker that knows the whole truth, and looks after every step.

Rule: what it compares with is kept apart from what it checks: holders by the events that made
them, attempts by the backend's own ledger.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from everfold.projector.job.fold import fold
from everfold.projector.job.invariants import Trace, check
from everfold.projector.job.job import Job
from everfold.runner.decisions.bounds import TAKEN_BACK
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Event,
    Expired,
    Failed,
    Lost,
    Recovered,
    Released,
    Retried,
    Submitting,
    Succeeded,
    closing_status,
)
from everfold.streams.events.record import Recorded
from tests.simulation.comfyui import ALIVE, Ledger, Prompt
from tests.simulation.head import Head
from tests.simulation.server import Author, Server

LATE_MS = 45_000
"""How long after a bound a job may end: a lease has to run out, and questions have time-outs."""

EARLY_MS = 4_000
"""How much too early a bound may come: steps of the clock below two seconds are not seen."""


class Violation(Exception):
    """An invariant does not hold."""


class Checker:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._server: Server | None = None
        self._last: dict[str, Recorded] = {}
        self._closed: set[str] = set()
        self._event_ids: set[str] = set()
        self._holder: dict[str, Author] = {}
        self._abandoned: set[tuple[str, int]] = set()
        """Attempts that the log names as given up on a backend that could not be asked."""
        self.old_runners: set[str] = set()
        """Those that cannot read what is strange."""
        self._submitters: dict[tuple[str, int], tuple[str, int]] = {}
        """Job and attempt -> who appended its intent, and as which event."""
        self._could_not_read: dict[str, bool] = {}
        """Job -> whether its last event under a lease says that a runner could not read it."""
        self._seen = (-1, -1)
        self.checks = 0

    def watch(self, server: Server) -> None:
        self._server = server

    # At each entry of the log.

    def record(self, record: Recorded, author: Author, event_id: str) -> None:
        job_id, event = record.job_id, record.event
        expect(not event_id or event_id not in self._event_ids, "1: written twice", record)
        self._event_ids.add(event_id)
        last = self._last.get(job_id)
        expect(record.seq == (last.seq + 1 if last else 1), "1: sequence", record)
        expect(record.previous == (last.entry_id if last else "0-0"), "1: chain", record)
        expect(job_id not in self._closed, "2: an event after the end", record)
        self._check_epoch(record, last.epoch if last else 0, author)
        self._last[job_id] = record
        self._check_reader(record, author)
        if isinstance(event, Lost | Failed | Canceled | Expired) and event.abandoned:
            assert self._server is not None
            # `expired` names no attempt and means the newest.
            self._abandoned.add((job_id, self._server.states[job_id][-1].attempt))
        self._check_not_early(job_id, event)  # type: ignore[arg-type]
        if closing_status(event):  # type: ignore[arg-type]
            self._closed.add(job_id)
            self._check_end(job_id, event)  # type: ignore[arg-type]
        if isinstance(event, Lost):
            self._check_lost(job_id, event)
        if isinstance(event, Retried | Failed) and event.failure.code == "interrupted":
            self._check_interrupted(job_id, event.attempt)

    def _check_epoch(self, record: Recorded, before: int, author: Author) -> None:
        job_id = record.job_id
        if isinstance(record.event, Claimed | Recovered):
            expect(record.epoch > before, "3: a new lease without a new epoch", record)
            self._holder[job_id] = author
        else:
            expect(record.epoch == before, "3: epoch", record)
            held = self._holder.get(job_id)
            expect(author in (None, held), f"3: written by {author}, held by {held}", record)
        if isinstance(record.event, Released | Retried):
            self._holder[job_id] = None

    def _check_reader(self, record: Recorded, author: Author) -> None:
        job_id, event = record.job_id, record.event
        if isinstance(event, Submitting) and author is not None:
            self._submitters[job_id, event.attempt] = (author[0], record.seq)
        if isinstance(event, Claimed):
            again = self._could_not_read.get(job_id, False) and event.owner in self.old_runners
            expect(not again, "8: claimed again by one that cannot read it", record)
        if author is not None:
            is_release = isinstance(event, Released) and event.reason == "cannot_read"
            self._could_not_read[job_id] = is_release

    def _check_sender(self, job_id: str, number: int) -> None:
        assert self._server is not None
        runner, seq = self._submitters.get((job_id, number), ("", 0))
        if runner in self.old_runners:
            hidden = [strange for strange in self._server.strange.get(job_id, []) if strange < seq]
            expect(not hidden, f"8: {runner} sends what it cannot read", job_id)

    def _check_end(self, job_id: str, event: Event) -> None:
        prompts = self._ledger.by_job.get(job_id, [])
        living = [prompt for prompt in prompts if self._may_live(prompt)]
        expect(not living, "7: ended while an attempt may live", event)
        done = [prompt for prompt in prompts if prompt.state == "succeeded" and prompt.in_history]
        if isinstance(event, Succeeded):
            told = [prompt for prompt in prompts if prompt.attempt.number == event.attempt]
            expect(told[0].state == "succeeded", "7: success that was none", event)
        else:
            known = [prompt for prompt in done if not self._is_abandoned(prompt)]
            expect(not known, "7: a success was told as something else", event)
        if isinstance(event, Canceled):
            asked = self._reason_to_cancel(job_id)
            expect(bool(asked), "7: canceled, but nobody asked", event)
            expect(event.reason == asked, f"7: canceled because {asked!r}", event)

    def _check_not_early(self, job_id: str, event: Event) -> None:
        """What the clock ends has had its time, however the server's clock was set."""
        assert self._server is not None
        states, written_ms = self._server.states[job_id], [0, *self._server.written_ms[job_id]]
        now_ms, policy = written_ms[-1], states[1].policy
        if isinstance(event, Expired):
            stale_s, queue_s = policy.recovery_max_age_s or 0.0, policy.queue_deadline_s or 0.0
            expect(event.reason != "stale" or stale_s > 0, "9: stale without an age", event)
            expect(event.reason != "stale" or not event.abandoned, "7: stale, but alive", event)
            limit_s = {"stale": stale_s, "queue_deadline": queue_s}.get(event.reason, 0.0)
            passed_ms = now_ms - written_ms[1]
        elif isinstance(event, Failed) and event.failure.code == "run_deadline":
            limit_s = policy.run_deadline_s or 0.0
            passed_ms = now_ms - _since_ms("started_at_ms", states[-1], states, written_ms)
        else:
            return
        expect(passed_ms + EARLY_MS >= limit_s * 1000, "9: ended by the clock, too early", event)

    def _reason_to_cancel(self, job_id: str) -> str:
        assert self._server is not None
        asked = (record.event for record in self._server.records[job_id])
        return next((event.reason for event in asked if isinstance(event, CancelRequested)), "")

    def _check_lost(self, job_id: str, event: Lost) -> None:
        for prompt in self._ledger.by_job.get(job_id, []):
            if prompt.attempt.number == event.attempt:
                expect(not self._may_live(prompt), "6: told lost, but alive", event)
                over = prompt.in_history and not self._is_abandoned(prompt)
                taken_back = event.cause in TAKEN_BACK and prompt.was_stopped
                expect(not over or taken_back, "6: told lost, but it has ended", event)

    def _check_interrupted(self, job_id: str, number: int) -> None:
        for prompt in self._ledger.by_job.get(job_id, []):
            if prompt.attempt.number == number:
                touched = prompt.was_interfered or prompt.was_stopped
                expect(touched, "7: interrupted, but by none who may", prompt.attempt)

    # At each POST.

    def sent(self, prompt: Prompt) -> None:
        expect(prompt.sends == 1, "6: sent twice", prompt.attempt)
        self._check_sender(prompt.attempt.job_id, prompt.attempt.number)
        for other in self._ledger.by_job[prompt.attempt.job_id]:
            if other is not prompt:
                may_live = self._may_live(other)
                expect(not may_live, "6: sent while another may live", prompt.attempt)
                wasted = other.in_history and other.state == "succeeded"
                wasted = wasted and not self._is_abandoned(other)
                expect(not wasted, "6: sent again although it had ended", prompt.attempt)
                is_later = other.attempt.number > prompt.attempt.number and other.sends
                expect(not is_later, "6: sent after a later attempt", prompt.attempt)

    # What a runner believes.

    def knows(self, runner: str, job: Job) -> None:
        assert self._server is not None
        expect(job == self._server.states[job.job_id][job.seq], f"4: {runner} is wrong", job)

    # After each step.

    def step(self) -> None:
        assert self._server is not None
        now = (self._server.changes, self._ledger.changes)
        if now == self._seen:
            return
        self._seen = now
        self.checks += 1
        for job_id, head in self._server.heads.items():
            self._check_place(self._server, job_id, head)
            self._check_living(job_id, head)

    def _check_place(self, server: Server, job_id: str, head: Head) -> None:
        dispatch_ids = [
            (lane, dispatch_id)
            for lane, stream in server.lanes.items()
            for dispatch_id, job in stream.entries.items()
            if job == job_id
        ]
        places = len(dispatch_ids) + (job_id in server.later) + (job_id in server.waiting)
        expect(places == (head.status == "open"), f"5: {places} places, {head.phase}", job_id)
        line = server.lane(head.lane).pending.get(head.dispatch_id)
        holder = line.consumer if line else ""
        wanted = {"leased": head.owner, "released": "released"}.get(head.phase, "")
        expect(holder == wanted, f"5: {head.phase}, pending for {holder!r}", job_id)

    def _is_abandoned(self, prompt: Prompt) -> bool:
        return (prompt.attempt.job_id, prompt.attempt.number) in self._abandoned

    def _may_live(self, prompt: Prompt) -> bool:
        alive = prompt.state == "sent" or prompt.state in ALIVE
        return alive and not self._is_abandoned(prompt)

    def _check_living(self, job_id: str, head: Head) -> None:
        prompts = self._ledger.by_job.get(job_id, ())
        living = [
            prompt.attempt.number
            for prompt in prompts
            if prompt.state in ALIVE and not self._is_abandoned(prompt)
        ]
        expect(len(living) <= 1, f"6: attempts {living} live at once", job_id)
        expect(not living or head.status == "open", "7: an attempt outlives its job", job_id)

    # When all is quiet.

    def end(self) -> None:
        """Every job has ended, and its fold is what it was, however it is divided."""
        assert self._server is not None
        for job_id, head in self._server.heads.items():
            expect(head.status != "open", f"7: never ends ({head.phase})", job_id)
            records, states = self._server.records[job_id], self._server.states[job_id]
            half = len(records) // 2
            whole = fold(records)
            expect(whole == states[-1] == fold(records[half:], states[half]), "4: fold", job_id)
            expect(whole.status == head.status, "4: the head and the fold differ", job_id)
            self._audit(job_id, records)
        for lane, stream in self._server.lanes.items():
            expect(not stream.entries and not stream.pending, "5: left in dispatch", lane)

    def left_running(self, reachable: Collection[str]) -> list[str]:
        """Return prompts that were given up and still live at one of these backends.

        Those that hear no interrupt are left out.
        """
        return [
            prompt_id
            for prompt_id, prompt in self._ledger.prompts.items()
            if prompt.state in ALIVE
            and not prompt.script.deaf
            and self._is_abandoned(prompt)
            and prompt.backend in reachable
        ]

    def bounds(self, calm_since_ms: int) -> None:
        """What a person or the clock ends has ended in time, whatever the backends did.

        Counted from when runners work undisturbed.
        """
        assert self._server is not None
        for job_id, states in self._server.states.items():
            written_ms = [0, *self._server.written_ms[job_id]]
            for state, after in pairwise(states):
                if job_id in self._server.strange and not state.is_canceling:
                    continue  # whoever holds it may not know of its deadlines
                if (due_ms := _due_ms(state, states, written_ms)) is not None:
                    late_ms = written_ms[after.seq] - max(due_ms, calm_since_ms) - LATE_MS
                    late_ms -= int(state.policy.stop_within_s * 1000)
                    expect(late_ms <= 0, f"9: {late_ms} ms after its last bound", job_id)

    def _audit(self, job_id: str, records: list[Recorded]) -> None:
        """The product's own check of a history must have nothing to say against it."""
        trace = Trace(job_id=job_id)
        for record in records:
            trace, found = check(trace, record)
            expect(not found, "audit", "; ".join(map(str, found)))


def _due_ms(state: Job, states: list[Job], written_ms: list[int]) -> int | None:
    """Return when this state of a job had to come to an end; None when it may stay.

    In virtual time: the server's clock may have been set meanwhile.
    """
    if state.is_terminal:
        return None
    if state.is_canceling:
        return _since_ms("cancel_requested_at_ms", state, states, written_ms)
    run_s = state.policy.run_deadline_s
    if run_s is not None and state.started_at_ms and state.may_be_alive:
        return _since_ms("started_at_ms", state, states, written_ms) + int(run_s * 1000)
    return None


def _since_ms(field: str, state: Job, states: list[Job], written_ms: list[int]) -> int:
    """Return the virtual time since which the field has its value."""
    value: int = getattr(state, field)
    return next(written_ms[s.seq] for s in states if getattr(s, field) == value)


def expect(holds: bool, what: str, about: object) -> None:
    if not holds:
        raise Violation(f"{what}: {about}")
