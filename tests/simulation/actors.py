"""The actors of a runner as steps: taker, sweeper, promoter, and the look at the backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from everfold.runner.backend import Unreachable
from everfold.runner.decisions.bounds import has_started
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Reservation
from everfold.streams.appending.log import UNLEASED
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import ServerError, Unavailable
from everfold.streams.events.event import Canceled, Event, Expired
from everfold.streams.redis.keys import connection_name
from tests.simulation.head import Lane
from tests.simulation.process import REDIS
from tests.simulation.tasks import Nap, Steps, ask
from tests.simulation.unreadable import end_unstarted, job_seen_by, promote_blocked

if TYPE_CHECKING:
    from tests.simulation.runner import Runner

T = TypeVar("T")

PROMOTE_EVERY_MS = 900
HOLD_MS = 86_400_000 * 300
PAUSE_MS = 300


def registering(runner: Runner) -> Steps[None]:
    registered_runners = runner.world.server.registered_runners
    while True:
        try:
            yield from runner.clock.first_look()
            yield from ask(REDIS, lambda: registered_runners.add(runner.name), "register_runner")
        except Unavailable:
            yield PAUSE_MS
        else:
            return


def taking(runner: Runner) -> Steps[None]:
    """Take waiting jobs while there is room; find leases whose answer was lost."""
    while not runner.is_draining:
        try:
            taken = yield from _take_all(runner)
        except Unavailable:
            yield PAUSE_MS
            yield from _start_unanswered(runner)
            taken = 0
        if not taken:
            yield Nap(int(runner.config.poll_every_s * 1000))


def _take_all(runner: Runner) -> Steps[int]:
    reservations: list[Reservation] = []
    while (reservation := runner.reserve()) is not None:
        reservations.append(reservation)
    if not reservations:
        return 0
    asked_at_ms, leases = runner.agenda.now_ms, list[Lease]()
    server, most = runner.world.server, len(reservations)
    try:
        leases = yield from ask(
            REDIS, lambda: server.claim(runner.name, runner.lanes, most, runner.reads), "claim"
        )
    finally:
        for reservation in reservations[len(leases) :]:
            reservation.state.reserved -= 1
    for lease, reservation in zip(leases, reservations, strict=False):
        claimed = runner.world.server.records[lease.job_id][lease.seq - 1]
        runner.clock.doubt(claimed.time_ms, runner.clock.steady_s())
        runner.start(lease, asked_at_ms, reservation)
    return len(leases)


def _start_unanswered(runner: Runner) -> Steps[None]:
    try:
        yield from runner.world.parts.adopting(runner)
    except Unavailable:
        return


def adopting(runner: Runner) -> Steps[None]:
    """Find leases that the server gave us in answers that were lost, or that came too late."""
    asked_at_ms = runner.agenda.now_ms
    held = yield from ask(REDIS, lambda: _held(runner), "held")
    for lease in held:
        if not runner.leases.holds(lease.job_id):
            runner.start(lease, asked_at_ms, None)


def _held(runner: Runner) -> list[Lease]:
    """Dispatch.held: what the server says that this runner holds."""
    server, leases = runner.world.server, list[Lease]()
    for lane in runner.lanes:
        stream = server.lane(lane)
        for line in stream.page(0, runner.name, 1000):
            job_id = stream.entries.get(line.entry_id)
            head = server.heads[job_id] if job_id else None
            if job_id and head and head.owner == runner.name and head.phase == "leased":
                dispatch_id = str(line.entry_id)
                leases.append(Lease(job_id, runner.name, head.epoch, head.seq, *lane, dispatch_id))
    return leases


def sweeping(runner: Runner) -> Steps[None]:
    """Take over what is orphaned, for ever."""
    lease_ms = int(runner.config.lease_ttl_s * 1000)
    adopt_at_ms = 0
    yield from _check_clock(runner)
    while not runner.is_draining:
        yield Nap(int(runner.config.sweep_every_s * 1000))
        try:
            if runner.agenda.now_ms >= adopt_at_ms:
                yield from runner.world.parts.adopting(runner)
                adopt_at_ms = runner.agenda.now_ms + lease_ms
            for lane in runner.lanes:
                yield from _take_over(runner, lane)
            for suspect in (yield from _dead_runners(runner)):
                yield from _take_from(runner, suspect)
        except Unavailable:
            runner.hold_until_ms = runner.agenda.now_ms + lease_ms
            runner.suspects.forget()
            yield PAUSE_MS


def _take_over(runner: Runner, lane: Lane, suspect: str = "") -> Steps[None]:
    most = 4
    while True:
        taken = yield from _take_page(runner, lane, suspect, most)
        is_through = runner.cursors[lane] == 0
        if (is_through and not suspect) or (suspect and taken < most):
            return
        most = 500 if taken else 4


def _take_page(runner: Runner, lane: Lane, suspect: str, most: int) -> Steps[int]:
    server, asked_at_ms = runner.world.server, runner.agenda.now_ms
    limit_ms = int(runner.config.lease_ttl_s * 1000)
    if asked_at_ms < runner.hold_until_ms:
        limit_ms += HOLD_MS
    if runner.clock.is_holding(runner.clock.steady_s()):
        limit_ms += HOLD_MS
    start = 0 if suspect else runner.cursors.get(lane, 0)
    page = None
    for _ in range(2):
        page = yield from _unless_ahead(
            runner,
            lambda: server.take_over(runner.name, lane, limit_ms, start, suspect, most),
            "take_over",
        )
        if page is not None:
            break
        yield from runner.clock.look()
    if page is None:
        raise ServerError("the clock was set")
    cursor, leases = page
    runner.cursors[lane] = 0 if suspect else cursor
    for lease in leases:
        runner.start(lease, asked_at_ms, None)
    return len(leases)


def _check_clock(runner: Runner) -> Steps[None]:
    while True:
        try:
            yield from runner.clock.check()
        except Unavailable:
            yield PAUSE_MS
        else:
            return


def _unless_ahead(runner: Runner, act: Callable[[], T], name: str) -> Steps[T | None]:
    """Return what `act` answers, None where the clock is ahead of what this runner can explain."""
    clock = runner.world.clock
    latest_ms = runner.clock.latest_ms(runner.clock.steady_s())

    def unless_ahead() -> T | None:
        return None if 0 < latest_ms < clock.now_ms() else act()

    return (yield from ask(REDIS, unless_ahead, name))


def _dead_runners(runner: Runner) -> Steps[list[str]]:
    """Two reads, as in the product: the connections first, the registry second."""
    world = runner.world
    names = yield from ask(REDIS, world.connected, "CLIENT LIST")
    if connection_name(runner.name) not in names:
        return []
    registered = yield from ask(
        REDIS, lambda: set(world.server.registered_runners), "registered_runners"
    )
    return runner.suspects.dead(registered - {runner.name}, names, runner.agenda.now_ms / 1000)


def _take_from(runner: Runner, suspect: str) -> Steps[None]:
    for lane in runner.lanes:
        yield from _take_over(runner, lane, suspect)
    registered_runners = runner.world.server.registered_runners
    yield from ask(REDIS, lambda: registered_runners.discard(suspect), "deregister")
    runner.suspects.forget(suspect)


def promoting(runner: Runner) -> Steps[None]:
    yield from _check_clock(runner)
    while not runner.is_draining:
        try:
            for job_id in (yield from _promote(runner)):
                yield from _end(runner, job_id)
            if not runner.clock.is_holding(runner.clock.steady_s()):
                yield from promote_blocked(runner)
        except Unavailable:
            pass
        yield PROMOTE_EVERY_MS


def _promote(runner: Runner) -> Steps[list[str]]:
    server, clock = runner.world.server, runner.world.clock

    def promote() -> tuple[int, list[str]]:
        clock.note_seen()
        return clock.now_ms(), server.promote()[1]

    asked_s = runner.clock.steady_s()
    reply = yield from _unless_ahead(runner, promote, "promote")
    if reply is None or runner.clock.wants_look(reply[0], asked_s):
        yield from runner.clock.look()
    return reply[1] if reply else []


def _end(runner: Runner, job_id: str) -> Steps[None]:
    server, event_id = runner.world.server, runner.world.new_id()
    if server.heads[job_id].blocked:
        yield from end_unstarted(runner, job_id)
        return
    job = yield from ask(REDIS, lambda: job_seen_by(server, runner.reads, job_id), "read_job")
    if job is None:
        return
    if has_started(job) and not job.is_canceling:
        server.deadlines.pop(job_id, None)
        return
    event: Event = Expired(reason="queue_deadline")
    if job.is_canceling:
        event = Canceled(reason=job.reason, attempt=job.attempt)
    yield from ask(REDIS, lambda: server.append(job_id, event_id, event, UNLEASED), "append")


def looking(runner: Runner, state: BackendState) -> Steps[None]:
    """Ask a backend how busy it is; what that means is the product's own code."""
    comfyui = runner.world.backends[state.backend.name]
    while True:
        reserved = state.reserved
        load = yield from ask(comfyui.name, comfyui.load, "load")
        state.update(load, reserved, runner.agenda.now_ms / 1000)
        yield 1_000 if not isinstance(load, Unreachable) else 1_500
