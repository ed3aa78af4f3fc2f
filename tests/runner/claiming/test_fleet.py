from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.backend import (
    Attempt,
    InputBytes,
    InputFile,
    Load,
    Observation,
    OutputAnswer,
    OutputFile,
    PlaceOutcome,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.fleet import backend_state
from everfold.runner.fleet.backend_state import (
    DEAD_WORKER_AFTER_S,
    SLOW_POST_S,
    BackendState,
)
from everfold.runner.fleet.fleet import POLLS_PER_S, Fleet
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.event import ON_HOST
from everfold.streams.leases.backends import BackendEntry, SeenBackends

pytestmark = pytest.mark.anyio


class Shown:
    """A backend that shows what a test wants to be seen; nothing of attempts is ever asked here."""

    def __init__(self, name: str, load: Load | Unreachable) -> None:
        self.name = name
        self.shown = load
        self.has: ObjectInfo | None = None
        self.polled = self.met = 0

    async def server(self) -> str:
        return ""

    async def capabilities(self) -> ObjectInfo | None:
        return self.has

    async def load(self) -> Load | Unreachable:
        self.polled += 1
        return self.shown

    async def aclose(self) -> None: ...

    async def boot(self) -> str | Unreachable:
        self.met += 1
        return f"boot of {self.name}"

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        raise AssertionError

    def observe(
        self, attempt: Attempt, workflow: bytes
    ) -> AbstractAsyncContextManager[Observation]:
        raise AssertionError

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        raise AssertionError

    async def has_input(self, file: InputFile, name: str) -> bool:
        raise AssertionError

    async def cancel(self, attempt: Attempt) -> None:
        raise AssertionError

    def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AbstractAsyncContextManager[OutputAnswer]:
        raise AssertionError

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        raise AssertionError


def state(running: int = 0, pending: int = 0, slots: int = 2) -> BackendState:
    made = BackendState(Shown("http://a", Load(0, 0)), slots)
    made.update(Load(running, pending), 0, now_s=0.0)
    return made


def fleet(*shown: Shown, slots: int = 2) -> Fleet:
    return Fleet(shown, slots, lambda url: Shown(url, Load(0, 0)))


def test_a_backend_that_was_not_asked_has_no_room() -> None:
    assert BackendState(Shown("http://a", Load(0, 0)), 2).room == 0


def test_the_prompts_of_others_take_room_but_never_the_last_slot_of_ours() -> None:
    assert state().room == 2
    assert state(running=1).room == 1
    crowded = state(running=1, pending=5)
    assert crowded.room == 1
    crowded.reserved = 1
    assert crowded.room == 0


def test_a_wedged_backend_gets_nothing_until_it_runs_something_else() -> None:
    mine = state(running=1)
    mine.mark_wedged("p1")
    mine.update(Load(1, 2, ("p1",)), 0, now_s=1.0)
    assert (mine.healthy, mine.room) == (False, 0)
    mine.update(Load(1, 1, ("p2",)), 0, now_s=2.0)
    assert mine.healthy
    assert mine.room == 1


def test_a_retired_backend_gets_nothing_and_says_why() -> None:
    mine = state()
    mine.is_retired = True
    assert mine.room == 0
    assert mine.why_not == "an operator retired it"


def test_a_backend_that_turns_posts_away_is_left_alone_for_longer_each_time() -> None:
    mine, pauses = state(), []
    for _ in range(7):
        mine.mark_refusing("POST /prompt answered 401")
        assert mine.why_not == "POST /prompt answered 401"
        begun_s = now_s = mine._now_s
        while not mine.room:
            now_s += 1.0
            mine.update(Load(0, 0), 0, now_s=now_s)
        pauses.append(now_s - begun_s)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    mine.mark_accepting()
    mine.mark_refusing("again")
    mine.update(Load(0, 0), 0, now_s=mine._now_s + 2.0)
    assert mine.room


def test_what_a_backend_cannot_run_is_reserved_elsewhere() -> None:
    both = fleet(Shown("http://a", Load(0, 0)), Shown("http://b", Load(0, 0)))
    for one in both.states:
        one.update(Load(0, 0), 0, now_s=0.0)
    reservation = both.reserve(without=("http://a",))
    assert reservation is not None
    assert reservation.state.backend.name == "http://b"
    assert both.reserve(without=("http://a", "http://b")) is None
    assert both.refuse_all(("http://a", "http://b"))
    assert not both.refuse_all(("http://a",))


def test_our_own_prompts_are_not_counted_twice() -> None:
    mine = state()
    mine.reserved = 1
    mine.update(Load(1, 0), 1, now_s=1.0)
    assert (mine.others, mine.room) == (0, 1)


def test_a_backend_that_does_not_answer_has_no_room_until_it_does() -> None:
    mine = state()
    mine.update(Unreachable("refused"), 0, now_s=1.0)
    assert mine.room == 0
    mine.update(Load(0, 0), 0, now_s=2.0)
    assert mine.room == 2


async def test_a_post_is_left_once_a_poll_finds_no_answer_and_not_for_a_refusal() -> None:
    one = state()
    for refuses, is_left in ((True, False), (False, True)):
        posting = anyio.Event()
        with one.posting():
            one.update(Unreachable("silent", refuses), reserved_before=0, now_s=0.0)
            await anyio.lowlevel.checkpoint()
            posting.set()
        assert posting.is_set() != is_left
    one.update(Unreachable("silent"), reserved_before=0, now_s=0.0)
    await anyio.lowlevel.checkpoint()


def test_a_backend_whose_answer_is_overdue_has_no_room_until_it_comes() -> None:
    mine = state()
    mine.mark_silent()
    assert (mine.room, mine.answers, mine.reachable) == (0, False, True)
    mine.update(Load(0, 0), 0, now_s=4.0)
    assert (mine.room, mine.answers) == (2, True)


async def test_a_backend_that_leaves_a_prompt_unanswered_gets_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, now_s = state(), 100.0
    monkeypatch.setattr(backend_state, "steady_s", lambda: now_s)
    with mine.posting():
        now_s += SLOW_POST_S
        assert mine.room == 2
        now_s += 0.1
        assert mine.room == 0
        assert "prompt" in mine.why_not
    assert mine.room == 2


def test_a_job_that_goes_on_for_longer_than_usual_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(backend_state, "steady_s", lambda: now_s)
    one = fleet(Shown("http://a", Load(0, 0)))
    mine = one.states[0]
    mine.note_run(1.0)
    held = one.reserve_on(mine)
    assert mine.expected_s == 1.0
    now_s += 30.0
    assert mine.expected_s == 30.0
    more = one.reserve_on(mine)
    one.release(held)
    assert mine.expected_s == 1.0
    one.release(more)
    now_s += 30.0
    assert mine.expected_s == 1.0  # nothing runs there


def test_a_worker_is_dead_when_prompts_wait_and_none_runs_in_two_looks() -> None:
    mine = state(pending=1)
    mine.update(Load(0, 1), 0, now_s=DEAD_WORKER_AFTER_S)
    assert not mine.healthy
    assert mine.room == 0


def test_a_worker_that_runs_something_in_between_is_alive() -> None:
    mine = state(pending=1)
    mine.update(Load(1, 1), 0, now_s=1.0)
    mine.update(Load(0, 1), 0, now_s=DEAD_WORKER_AFTER_S)
    assert mine.healthy


def test_a_dead_worker_is_trusted_again_after_its_queue_was_emptied_by_a_restart() -> None:
    mine = state(pending=1)
    mine.update(Load(0, 1), 0, now_s=DEAD_WORKER_AFTER_S)
    mine.update(Load(0, 0), 0, now_s=10.0)
    assert mine.healthy


async def test_the_backend_with_most_room_gets_the_next_job() -> None:
    small, large = Shown("http://small", Load(1, 0)), Shown("http://large", Load(0, 0))
    both = fleet(small, large)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(both.run)
        first = await both.reserve_when_free()
        while both.room < 2:
            await both.changed()
        tasks.cancel_scope.cancel()
    both.release(first)
    names = []
    while (reservation := both.reserve()) is not None:
        names.append(reservation.state.backend.name)
    assert names[0] == "http://large"
    assert sorted(names) == ["http://large", "http://large", "http://small"]


async def test_waiting_for_room_ends_when_a_slot_is_released() -> None:
    one = fleet(Shown("http://a", Load(0, 0)), slots=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        held = await one.reserve_when_free()
        waiting = anyio.Event()

        async def wait() -> None:
            await one.reserve_when_free()
            waiting.set()

        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        assert not waiting.is_set()
        one.release(held)
        with anyio.fail_after(5):
            await waiting.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_reached", [True, False])
def test_a_backend_is_away_since_a_runner_has_missed_it(is_reached: bool) -> None:
    seen = BackendEntry(name="http://a", seen_ms=1, by="dead", is_reached=is_reached)
    new = state()
    new.update(Unreachable("refused"), 0, 1.0)
    new.note_seen(seen, own="me", now_ms=3_600_001, now_s=100.0)
    # While no runner was there nobody could miss it: it may just be starting as this one is.
    assert new.away_s == (0.0 if is_reached else 3600.0)
    new.note_seen(seen, own="me", now_ms=3_605_001, now_s=105.0)
    assert new.away_s == (5.0 if is_reached else 3605.0)


def test_a_backend_that_only_a_recovered_job_knows_is_asked_but_gets_no_new_job() -> None:
    one = fleet(Shown("http://a", Load(0, 0)))
    unlisted = one.reserve_at("http://elsewhere")
    assert unlisted.state.backend.name == "http://elsewhere"
    assert one.state_of("http://elsewhere") is unlisted.state
    assert unlisted.state.room == 0


async def test_many_backends_are_polled_so_many_a_second_and_not_all_at_one_moment() -> None:
    shown = [Shown(f"http://{number}", Load(0, 0)) for number in range(4 * POLLS_PER_S)]
    async with anyio.create_task_group() as group:
        made, began_s = fleet(*shown), steady_s()
        group.start_soon(made.run)
        while sum(one.polled for one in shown) < len(shown) + POLLS_PER_S // 2:  # noqa: ASYNC110
            await anyio.sleep(0.05)
        polled, passed_s = sum(one.polled for one in shown), steady_s() - began_s
        group.cancel_scope.cancel()
    assert polled <= len(shown) + POLLS_PER_S * (passed_s + 0.2)


async def test_one_of_many_that_is_in_doubt_is_polled_soon() -> None:
    shown = [Shown(f"http://{number}", Load(0, 0)) for number in range(20 * POLLS_PER_S)]
    async with anyio.create_task_group() as group:
        made = fleet(*shown)
        group.start_soon(made.run)
        await until(lambda: shown[-1].polled > 0)
        made.states[-1].mark_refusing("POST /prompt answered 429")
        began_s = steady_s()
        await until(lambda: shown[-1].polled > 1)
        assert steady_s() - began_s < 10  # in its turn it would be twenty seconds
        group.cancel_scope.cancel()


async def test_what_a_server_has_is_read_before_its_boot_is_known() -> None:
    shown, gate = Shown("http://a", Load(0, 0)), anyio.Event()

    async def capabilities() -> None:
        await gate.wait()

    shown.capabilities = capabilities  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        made = fleet(shown)
        group.start_soon(made.run)
        await until(lambda: shown.met == 1)
        assert made.states[0].known.boot == ""
        gate.set()
        await until(lambda: made.room > 0)
        assert made.states[0].known.boot == "boot of http://a"
        group.cancel_scope.cancel()


async def test_a_backend_is_met_before_its_first_job_and_after_each_absence() -> None:
    shown = Shown("http://a", Load(0, 0))
    async with anyio.create_task_group() as group:
        made = fleet(shown)
        group.start_soon(made.run)
        await until(lambda: made.room > 0)
        assert (shown.met, made.states[0].known.boot) == (1, "boot of http://a")
        await until(lambda: shown.polled > 2)
        assert shown.met == 1
        shown.shown = Unreachable("away")
        await until(lambda: made.room == 0)
        shown.shown = Load(0, 0)
        await until(lambda: made.room > 0)
        assert shown.met == 2
        group.cancel_scope.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not is_so():  # noqa: ASYNC110
            await anyio.sleep(0.01)


NAMES = st.sampled_from(["http://a", "http://b", "http://127.0.0.1:1"])
SERVERS = st.sampled_from(["", "server-1", "server-2", f"{ON_HOST}h1", f"{ON_HOST}h2"])
HOSTS = st.sampled_from(["", "h1", "h2"])
ENTRIES = st.builds(BackendEntry, name=NAMES, seen_ms=st.just(1), server=SERVERS, host=HOSTS)


@given(st.lists(ENTRIES), NAMES, SERVERS, HOSTS)
def test_what_was_seen_of_a_backend_is_looked_up_as_it_would_be_searched_for(
    entries: list[BackendEntry], name: str, server: str, host: str
) -> None:
    found = SeenBackends(entries).of(name, server, host)
    searched = [entry for entry in entries if entry.is_of(name, server, host)]
    assert sorted(map(repr, found)) == sorted(map(repr, searched))
