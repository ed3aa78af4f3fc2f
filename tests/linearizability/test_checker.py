"""The checker itself: it rejects known bad histories, takes good ones, and agrees with a search of
all orders."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.linearizability.checker import NEVER, Call, check
from tests.linearizability.job_model import (
    SUBMITTED,
    Append,
    Conflict,
    JobModel,
    Read,
    Submit,
)

MODEL = JobModel()
SUBMIT = Call(0, 1, Submit(), True)


def append(begin: float, end: float, event: str, answer: object = None, expected: int = -1) -> Call:
    return Call(begin, end, Append(event, expected), answer)


def read(begin: float, end: float, *events: str) -> Call:
    return Call(begin, end, Read(), (SUBMITTED, *events))


GOOD = {
    "one after the other": [SUBMIT, append(2, 3, "a", 2), read(4, 5, "a")],
    "a read beside an append sees it": [SUBMIT, append(2, 6, "a", 2), read(3, 4, "a")],
    "a read beside an append does not see it": [SUBMIT, append(2, 6, "a", 2), read(3, 4)],
    "two appends in the other order": [SUBMIT, append(2, 6, "a", 3), append(3, 5, "b", 2)],
    "an open append came": [SUBMIT, append(2, NEVER, "a"), read(3, 4), read(5, 6, "a")],
    "an open append never came": [SUBMIT, append(2, NEVER, "a"), read(3, 4), read(5, 6)],
    "one of two at the same place": [
        SUBMIT,
        append(2, 5, "a", 2, expected=1),
        append(2, 5, "b", Conflict(2), expected=1),
    ],
    "a repeat gets the first answer": [
        SUBMIT,
        append(2, 3, "a", 2),
        append(4, 5, "b", 3),
        append(6, 7, "a", 2, expected=1),
    ],
    "a read before the submit": [Call(0, 1, Read(), ()), Call(2, 3, Submit(), True)],
    "an open submit came": [Call(0, NEVER, Submit()), append(1, 2, "a", 2), read(3, 4, "a")],
}

BAD = {
    "an acknowledged append is lost": [SUBMIT, append(2, 3, "a", 2), read(4, 5)],
    "what was seen is unseen": [SUBMIT, append(2, 9, "a", 2), read(3, 4, "a"), read(5, 6)],
    "an open append is unseen": [SUBMIT, append(2, NEVER, "a"), read(3, 4, "a"), read(5, 6)],
    "an append comes twice": [SUBMIT, append(2, 3, "a", 2), read(4, 5, "a", "a")],
    "two at the same place": [SUBMIT, append(2, 5, "a", 2), append(2, 5, "b", 2)],
    "both of two that excluded each other": [
        SUBMIT,
        append(2, 5, "a", 2, expected=1),
        append(2, 5, "b", 3, expected=1),
    ],
    "a conflict without a reason": [SUBMIT, append(2, 3, "a", Conflict(1), expected=1)],
    "an event that nobody appended": [SUBMIT, read(2, 3, "a")],
    "a read of the future": [SUBMIT, read(2, 3, "a"), append(4, 5, "a", 2)],
    "another order than the times": [
        SUBMIT,
        append(2, 3, "a", 2),
        append(4, 5, "b", 3),
        read(6, 7, "b", "a"),
    ],
    "two readers see two orders": [
        SUBMIT,
        append(2, 9, "a", 2),
        append(2, 9, "b", 2),
        read(3, 4, "a"),
        read(3, 4, "b"),
    ],
    "the submit itself is lost": [SUBMIT, Call(2, 3, Read(), ())],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_linearizable(name: str) -> None:
    verdict = check(GOOD[name], MODEL)

    assert verdict.is_linearizable
    assert {call for call in GOOD[name] if not call.is_open} <= set(verdict.longest)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_not(name: str) -> None:
    assert not check(BAD[name], MODEL).is_linearizable


def test_the_verdict_says_where_no_call_fits_any_more() -> None:
    lost = read(4, 5)

    verdict = check([SUBMIT, append(2, 3, "a", 2), lost, read(6, 7, "a")], MODEL)

    assert verdict.longest == (SUBMIT, append(2, 3, "a", 2))
    assert verdict.stuck == (lost,)


def test_a_long_history_of_many_clients_is_checked_in_reasonable_time() -> None:
    calls = [SUBMIT]
    for turn in range(200):
        at = 2.0 + turn
        names = [f"{turn}-{client}" for client in range(4)]
        calls += [append(at, at + 0.9, name, 2 + 4 * turn + n) for n, name in enumerate(names)]

    assert check(calls, MODEL).is_linearizable
    assert not check([*calls[:-1], append(300, 301, "late", 5)], MODEL).is_linearizable


EVENTS = st.sampled_from(["a", "b"])
ASKED = st.one_of(
    st.just(Submit()), st.just(Read()), st.builds(Append, EVENTS, st.sampled_from([-1, 1, 2]))
)
ANSWERS = st.one_of(
    st.sampled_from([True, 2, 3, Conflict(0), Conflict(1), Conflict(2)]),
    st.sampled_from([(), (SUBMITTED,), (SUBMITTED, "a"), (SUBMITTED, "b"), (SUBMITTED, "a", "b")]),
)
CALLS = st.builds(
    lambda begin, length, asked, answer: Call(begin, begin + length, asked, answer),
    st.integers(0, 8),
    st.sampled_from([1, 2, 5, NEVER]),
    ASKED,
    ANSWERS,
)


@given(st.lists(CALLS, max_size=5))
def test_it_agrees_with_a_search_of_all_orders(calls: list[Call]) -> None:
    assert check(calls, MODEL).is_linearizable == _some_order_fits(calls)


def _some_order_fits(calls: list[Call]) -> bool:
    answered = [call for call in calls if not call.is_open]
    unanswered = [call for call in calls if call.is_open]
    chosen = (some for n in range(len(unanswered) + 1) for some in combinations(unanswered, n))
    return any(_fits(order) for some in chosen for order in permutations([*answered, *some]))


def _fits(order: tuple[Call, ...]) -> bool:
    state: tuple[str, ...] | None = MODEL.first()
    for place, call in enumerate(order):
        if any(later.end_s < call.begin_s for later in order[place + 1 :]):
            return False
        assert state is not None
        state = MODEL.after(state, call)
        if state is None:
            return False
    return True
