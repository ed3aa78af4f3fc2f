"""One job of the log, as its clients may see it: submitted once, then a list of events.

Rule: pure. Jobs have nothing to do with each other, so each has a history of its own.
"""

from __future__ import annotations

from msgspec import Struct

from tests.linearizability.checker import Call

ANY = -1

State = tuple[str, ...]
"""The ids of the job's events in their order; empty before its submit."""


class Submit(Struct, frozen=True):
    """Answered by True."""


class Append(Struct, frozen=True):
    """Answered by the sequence number, or by a Conflict."""

    event_id: str
    expected: int = ANY
    """The sequence number that the job must be at."""


class Conflict(Struct, frozen=True):
    """Nothing was appended."""

    found: int
    """Where the job is."""


class Read(Struct, frozen=True):
    """Answered by the ids of the job's events; by none where the job is unknown."""


SUBMITTED = "submitted"
"""Stands for the id of a job's first event, which its client does not choose."""


class JobModel:
    """A log in which nothing is lost, nothing comes twice, and nobody sees an older state."""

    def first(self) -> State:
        return ()

    def after(self, state: State, call: Call) -> State | None:
        match call.asked:
            case Submit():
                return state or (SUBMITTED,)
            case Append():
                return _appended(state, call.asked, call)
            case Read():
                return state if call.is_open or call.answer == state else None
        raise AssertionError(f"no such call: {call.asked}")


def _appended(state: State, append: Append, call: Call) -> State | None:
    seq = len(state)
    if append.event_id in state:
        # It was repeated: the first time counts, whatever the job is at now.
        found = state.index(append.event_id) + 1
        return state if call.is_open or call.answer == found else None
    fits = seq > 0 and append.expected in (ANY, seq)
    if call.is_open:
        return (*state, append.event_id) if fits else state
    if isinstance(call.answer, Conflict):
        return state if not fits and call.answer.found == seq else None
    return (*state, append.event_id) if fits and call.answer == seq + 1 else None
