"""Those who see the same of the farm: their mailboxes, and what they were shown last.

Rule: no I/O. A member is encoded once for all of them, and told when its bytes have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from everfold.projector.job.job import Job
from everfold.web.farm.farm_state import FarmState
from everfold.web.farm.mailbox import Mailbox
from everfold.web.farm.members import (
    FarmSample,
    WaitReason,
    backends_of,
    queues_of,
    runners_of,
    running_of,
)
from everfold.web.farm.own_jobs import OwnJobs

MANY_RUNNING = 50
MANY_EVERY_MS = 1_000
"""Where many jobs run, all of them are told once in so long; each one's changes are at once."""

_encode = msgspec.json.Encoder().encode


class Audience:
    """The readers that see all (`user` is None), or the jobs of one user."""

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.boxes = set[Mailbox]()
        self.own = OwnJobs()
        """The open jobs of the user; of those that see all none are counted."""
        self.reasons: Sequence[WaitReason] = ()
        """Why those of the user wait."""
        self.shown: dict[str, bytes] = {}
        """All members as they were told last."""
        self._running_at_ms = 0
        self.is_due = False
        """Whether what runs is to be told again soon."""

    def tell(
        self,
        state: FarmState,
        sample: FarmSample,
        others: Mapping[str, bytes],
        changed: Iterable[tuple[Job, bytes]],
        at_ms: int,
        cursor: str,
    ) -> None:
        """Put into each mailbox what has changed. `others` are members made elsewhere, for those
        that see all; `changed` are jobs with their summaries."""
        self.tell_jobs(changed, cursor)
        members = self._members(state, sample, at_ms)
        if self.user is None:
            members |= others
        else:
            members["counts"] = _encode(self.own.counts)
        fresh = {name: text for name, text in members.items() if self.shown.get(name) != text}
        self.shown |= fresh
        for box in self.boxes:
            box.put(fresh, {}, cursor)

    def tell_jobs(self, changed: Iterable[tuple[Job, bytes]], cursor: str) -> None:
        """Put jobs that have changed into each mailbox, with their summaries, and nothing else."""
        own = [(job, text) for job, text in changed if self.user in (None, job.user)]
        if self.user is not None:
            for job, _ in own:
                self.own.note(job)
        summaries = {job.job_id: text for job, text in own}
        for box in self.boxes:
            box.put({}, summaries, cursor)

    def _members(self, state: FarmState, sample: FarmSample, at_ms: int) -> dict[str, bytes]:
        found = self._running(state, at_ms)
        if self.user is None:
            moved = state.moved_since(sample.at_ms)
            found["queues"] = _encode(queues_of(sample, moved))
            found["backends"] = _encode(backends_of(sample, state.held.values(), state.boots))
            found["runners"] = _encode(runners_of(sample))
            found["reasons"] = _encode(sample.reasons)
        else:
            found["reasons"] = _encode(self.reasons)
        return found

    def _running(self, state: FarmState, at_ms: int) -> dict[str, bytes]:
        is_soon = at_ms - self._running_at_ms < MANY_EVERY_MS
        self.is_due = len(state.held) > MANY_RUNNING and is_soon
        if self.is_due:
            return {}
        self._running_at_ms = at_ms
        running, besides = running_of(state.held.values(), self.user)
        shown = [state.held[one.job_id] for one in running]
        return {
            "running": _encode(running),
            "running_besides": _encode(besides),
            "previews": _encode(state.pictures.of(shown, at_ms)),
        }
