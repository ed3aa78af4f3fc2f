"""Is a history of concurrent calls linearizable: does each call look as if it had happened at once?

Wing and Gong's search with Lowe's memory of what was tried, as Porcupine does it: calls take effect
in some order that agrees with their times and, one after the other, gives the answers that were
given. Rule: pure; it knows nothing of jobs, a model says what each call does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

NEVER = float("inf")
"""The end of a call without an answer: it may take effect at any time from then on, or never."""

State = TypeVar("State", bound=Hashable)


class Call(Struct, frozen=True):
    """What one client asked, and what it was answered."""

    begin_s: float
    end_s: float
    """NEVER where no answer came."""
    asked: object
    answer: object = None

    @property
    def is_open(self) -> bool:
        return self.end_s == NEVER


class Model(Protocol[State]):
    """What one call does to a state."""

    def first(self) -> State:
        """Return the state before all calls."""
        ...

    def after(self, state: State, call: Call) -> State | None:
        """Return the state after a call, or None where its answer cannot be given in `state`.

        An open call has no answer that could be wrong.
        """
        ...


class Verdict(Struct, frozen=True):
    """Whether a history is linearizable, and how far the search came."""

    is_linearizable: bool
    longest: tuple[Call, ...]
    """The longest order that was found; all calls with an answer where it is linearizable."""
    stuck: tuple[Call, ...] = ()
    """The calls that could have come next, none of which has an answer that fits."""


class _Moment(Struct, eq=False):
    """A call's begin or end, in a list that calls are taken out of and put back into."""

    number: int
    call: Call
    end: _Moment | None = None
    """Of a begin: its call's end. None for an end."""
    before: _Moment | None = None
    after: _Moment | None = None


def check(history: Iterable[Call], model: Model[State]) -> Verdict:
    """Say whether a history is linearizable. It takes long where many calls overlap."""
    return _Search(list(history), model).run()


class _Search(Generic[State]):
    def __init__(self, calls: Sequence[Call], model: Model[State]) -> None:
        self._model = model
        self._answered = sum(1 << n for n, call in enumerate(calls) if not call.is_open)
        self._head = _linked(calls)
        self._chosen: list[tuple[_Moment, State]] = []
        """Begins of calls in their order, each with the state before it."""
        self._longest: tuple[Call, ...] = ()
        self._stuck: tuple[Call, ...] = ()

    def run(self) -> Verdict:
        state, done = self._model.first(), 0
        tried = {(done, state)}
        moment = self._head.after
        while done & self._answered != self._answered:
            assert moment is not None  # behind an open call's begin comes its end
            if moment.end is None:
                # The call ended before any other could take effect: the last choice was wrong.
                self._note_stuck()
                if not self._chosen:
                    return Verdict(False, self._longest, self._stuck)
                last, state = self._chosen.pop()
                done &= ~(1 << last.number)
                _put_back(last)
                moment = last.after
                continue
            after = self._model.after(state, moment.call)
            chosen = done | 1 << moment.number
            if after is None or (chosen, after) in tried:
                moment = moment.after
                continue
            tried.add((chosen, after))
            self._chosen.append((moment, state))
            state, done = after, chosen
            _take_out(moment)
            moment = self._head.after
        return Verdict(True, self._order())

    def _order(self) -> tuple[Call, ...]:
        return tuple(moment.call for moment, _ in self._chosen)

    def _note_stuck(self) -> None:
        order = self._order()
        if len(order) >= len(self._longest):
            self._longest, self._stuck = order, tuple(self._next())

    def _next(self) -> Iterator[Call]:
        """Yield the calls that have begun before the first end of one that is left."""
        moment = self._head.after
        while moment is not None and moment.end is not None:
            yield moment.call
            moment = moment.after


def _linked(calls: Sequence[Call]) -> _Moment:
    """Return the head of a list of all begins and ends by time; a begin comes before an end."""
    moments = list[tuple[float, int, _Moment]]()
    for number, call in enumerate(calls):
        end = _Moment(number, call)
        moments.append((call.begin_s, 0, _Moment(number, call, end)))
        moments.append((call.end_s, 1, end))
    head = last = _Moment(-1, Call(0.0, 0.0, None))
    for _, _, moment in sorted(moments, key=lambda timed: timed[:2]):
        last.after, moment.before = moment, last
        last = moment
    return head


def _take_out(begin: _Moment) -> None:
    for moment in (begin, begin.end):
        assert moment is not None
        assert moment.before is not None
        moment.before.after = moment.after
        if moment.after is not None:
            moment.after.before = moment.before


def _put_back(begin: _Moment) -> None:
    for moment in (begin.end, begin):
        assert moment is not None
        assert moment.before is not None
        moment.before.after = moment
        if moment.after is not None:
            moment.after.before = moment
