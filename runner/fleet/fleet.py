"""The backends of a runner: how much room each has, and which one gets the next job.

Rule: a backend's queue stays short, because jobs are safe in Redis and not in ComfyUI's memory. A
backend that does not answer has no room and is polled with back-off. A recovered job belongs to a
server and not to the address by which another runner reached it. Only addresses that a runner was
configured with are contacted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import anyio
import anyio.abc
from msgspec import Struct, field

from everfold.runner.adapters.silent_backend import NOT_CONFIGURED, SilentBackend
from everfold.runner.adapters.total_backend import TotalBackend
from everfold.runner.backend import NO_TRAITS, Backend, BackendTraits, Load, Unreachable
from everfold.runner.capabilities.fits import Missing, Server, why_none
from everfold.runner.fleet.backend_state import (
    NO_ANSWER_YET,
    SILENT_AFTER_S,
    BackendNews,
    BackendState,
)
from everfold.streams.closing import close
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import ON_HOST
from everfold.streams.events.needs import Needs
from everfold.streams.leases.backends import Abandoned, is_loopback
from everfold.streams.leases.registry import RunnerEntry
from everfold.streams.redis.retry import Backoff

POLL_EVERY_S = 1.0

AWAY_POLL_EVERY_S = 0.5
"""While it does not answer: one that is back gets work within a second, later where there are more
than POLLS_PER_S of them."""

POLLS_PER_S = 50
"""Of all backends that answer, each of which takes a millisecond or two of this process; of those
that do not it is twice as many. Where there are more of them each is polled less often."""

REFUSED_POLL_MOST_S = 10.0
"""One that lets this runner not in is asked less and less often."""

FIRST_WORD_S = 1.5
"""Of a backend that has not answered the first poll by then that is told."""

IDENTIFY_EVERY_S = 30.0
"""How often the identity of a server is read again while it answers."""

UNLISTED_KEPT_S = 60.0
"""An unlisted backend that no job has asked for in so long is forgotten."""


class Reservation(Struct, eq=False):
    """One slot of one backend. It stays reserved until `Fleet.release` is called with it."""

    state: BackendState
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its job was sent, or will not be."""
    before: asyncio.Event | None = None
    """The same of the reservation before it: jobs are sent in the order of their reservations."""


class Fleet:
    """All backends of one runner.

    `make` builds a backend for an unlisted URL, which only a recovered job names: that backend is
    asked about the job and never gets a new one, and while its URL is not `configured` it is not
    contacted. `host` is the name of this machine, `traits` those of backends by name.
    `on_change` is called when a listed one takes jobs or no more; its first state is a change.
    `aclose` closes listed and unlisted backends.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        slots: int,
        make: Callable[[str], Backend],
        host: str = "",
        traits: Mapping[str, BackendTraits] = {},
        on_change: Callable[[BackendState], None] = lambda _: None,
    ) -> None:
        self.states = [
            BackendState(TotalBackend(one), slots, traits.get(one.name, NO_TRAITS))
            for one in backends
        ]
        self.host = host
        self._make, self._news = make, BackendNews(on_change)
        self._unlisted: dict[tuple[str, str], BackendState] = {}
        """By URL and server: what a recovered job names and the configuration does not."""
        self.configured: frozenset[str] = frozenset()
        """Names of the backends that any runner was configured with, by the last heartbeat."""
        self.given_up: dict[str, int] = {}
        """Job -> the attempt that an operator gave up."""
        self.neighbours: dict[str, RunnerEntry] = {}
        """The registered runners, this one included, by the last heartbeat."""
        self._polling: anyio.abc.TaskGroup | None = None
        self._changed = asyncio.Event()

    @property
    def room(self) -> int:
        """Return the free slots of all listed backends."""
        return sum(state.room for state in self.states)

    @property
    def all_states(self) -> tuple[BackendState, ...]:
        """Every backend, the unlisted ones included."""
        return (*self.states, *self._unlisted.values())

    def refuse_all(self, refused_by: Collection[str]) -> bool:
        """Say whether every backend in service has refused a job; False while none is."""
        serving = [state for state in self.states if not state.is_retired]
        return bool(serving) and all(state.backend.name in refused_by for state in serving)

    def reserve(self, without: Collection[str] = ()) -> Reservation | None:
        """Reserve a slot on the backend with the most room; None when no backend has any.

        `without` names backends that cannot run the job.
        """
        best = self._roomiest(without)
        return self.reserve_on(best) if best is not None else None

    def has_room(self, without: Collection[str] = ()) -> bool:
        """Say whether a job could be sent now to a backend that is not named in `without`."""
        return self._roomiest(without) is not None

    def _roomiest(self, without: Collection[str]) -> BackendState | None:
        able = (state for state in self.states if state.backend.name not in without)
        best = max(able, key=lambda state: state.room, default=None)
        return best if best is not None and best.room else None

    def reserve_on(self, state: BackendState, models: str = "") -> Reservation:
        """Reserve a slot of a backend for a job that loads these model files."""
        state.take()
        state.models = models or state.models
        before, state.last_sent = state.last_sent, asyncio.Event()
        return Reservation(state, state.last_sent, before)

    async def reserve_when_free(self, without: Collection[str] = ()) -> Reservation:
        """Wait, without a limit, until a slot is free, and reserve it."""
        while True:
            reservation = self.reserve(without)
            if reservation is not None:
                return reservation
            await self._changed.wait()

    def reserve_at(self, url: str, server: str = "") -> Reservation:
        """Reserve a slot where a recovered job runs already, even beyond the backend's slots."""
        state = self.state_of(url, server)
        state.take()
        return Reservation(state)

    def release(self, reservation: Reservation) -> None:
        """Give a slot back and wake everyone who waits for room. Call it once per reservation."""
        reservation.state.give_back()
        reservation.sent.set()
        self._notify()

    def release_unused(self, reservations: Iterable[Reservation]) -> None:
        """Give back slots that got no job; wakes nobody, because the room is as it was before."""
        for reservation in reservations:
            reservation.state.give_back()
            reservation.sent.set()

    def state_of(self, url: str, server: str = "") -> BackendState:
        """Return the state of the backend that a job names by its URL and its server's identity.

        It is the listed one with this URL, unless another server is known to answer there; else a
        listed one with this identity, whatever its URL: servers that share an input folder have
        one. An unlisted one is added and polled.
        """
        if server == f"{ON_HOST}{self.host}":
            server = ""
        for state in self.states:
            is_other = server.startswith(ON_HOST) or state.server not in ("", server)
            if state.backend.name == url and not (server and is_other):
                return state
        if server and (same := [s for s in self.states if s.server == server]):
            return max(same, key=lambda s: s.reachable)
        return self._unlisted_state(url, server)

    def called(self, url: str, server: str = "") -> str:
        """Return what people call the backend that a job names: its title, else its URL."""
        own = (s for s in self.states if s.backend.name == url or (server and s.server == server))
        return next((state.title for state in own if state.title), url)

    def _unlisted_state(self, url: str, server: str) -> BackendState:
        found = self._unlisted.get((url, server))
        if found is None:
            backend = SilentBackend(url, NOT_CONFIGURED)
            found = self._unlisted[url, server] = BackendState(backend, slots=0)
            found.wanted_server = server
            if self._polling is not None:
                self._polling.start_soon(self._poll, found, (url, server))
        if isinstance(found.backend, SilentBackend) and url in self.configured:
            found.backend = self._make_backend(url)
        found.asked_for_s = time.monotonic()
        return found

    def _make_backend(self, url: str) -> Backend:
        try:
            return TotalBackend(self._make(url))
        except (EverfoldError, ValueError) as error:
            return SilentBackend(url, str(error))

    def is_configured(self, state: BackendState) -> bool:
        """Say whether this runner, or another one, was configured with the backend's address."""
        return state in self.states or state.backend.name in self.configured

    async def changed(self) -> None:
        """Wait until there may be more room than before."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Poll every backend until cancelled."""
        async with anyio.create_task_group() as self._polling:
            for number, state in enumerate(self.states, 1):
                self._polling.start_soon(self._poll, state, None, number / len(self.states))
            for key, state in self._unlisted.items():
                self._polling.start_soon(self._poll, state, key)

    async def _poll(
        self, state: BackendState, unlisted: tuple[str, str] | None = None, share: float = 1.0
    ) -> None:
        """Poll it until cancelled. The first pause is a `share` of the others, so that not all
        backends are polled at one moment."""
        backoff = Backoff(first_s=POLL_EVERY_S, most_s=REFUSED_POLL_MOST_S)
        while True:
            unasked_s = time.monotonic() - state.asked_for_s
            if unlisted is not None and not state.reserved and unasked_s > UNLISTED_KEPT_S:
                del self._unlisted[unlisted]
                self._news.forget(state)
                await close(state.backend)
                return
            await self._poll_once(state)
            if state.refuses:
                await anyio.sleep(backoff.next_s())
            else:
                backoff.reset()
                await self._pause(state, share)
            share = 1.0

    async def _pause(self, state: BackendState, share: float) -> None:
        """Wait until the next poll: one that is in doubt does not wait for its turn among many."""
        least_s = POLL_EVERY_S if state.reachable else AWAY_POLL_EVERY_S
        rest_s = least_s * max(0.0, len(self.states) / POLLS_PER_S - 1.0)
        await anyio.sleep(least_s * share)
        if not state.is_in_doubt:
            with anyio.move_on_after(rest_s * share):
                await state.doubted.wait()

    async def _poll_once(self, state: BackendState) -> None:
        reserved_before = state.reserved
        load = await self._load(state)
        if not isinstance(load, Unreachable):
            boot = await self._meet(state)
            if isinstance(boot, Unreachable):
                load = await self._load(state)  # it may be known now why nothing may be sent there
            await self._identify(state)
            await self._look(state)
            # Not before: what it has was read of this boot, or of a later one.
            state.known.boot = boot if isinstance(boot, str) and boot else state.known.boot
        if (why := self.misses(state)) is not None:
            load = Unreachable(why)
        state.update(load, reserved_before, anyio.current_time())
        self._tell(state)
        if state.room:
            self._notify()

    async def _load(self, state: BackendState) -> Load | Unreachable:
        """Poll it; while an answer does not come, say so."""
        within_s = SILENT_AFTER_S if state.was_asked else FIRST_WORD_S
        silence = asyncio.get_running_loop().call_later(within_s, self._tell_silence, state)
        try:
            return await state.backend.load()
        finally:
            silence.cancel()

    def _tell_silence(self, state: BackendState) -> None:
        if state.was_asked:
            state.mark_silent()
        else:
            state.why_down = NO_ANSWER_YET
        self._tell(state)

    def _tell(self, state: BackendState) -> None:
        self._news.tell(state, is_listed=state in self.states)

    async def _meet(self, state: BackendState) -> str | Unreachable:
        """Return which boot a server is that answers for the first time, or again, else nothing: a
        job that comes first would wait for what this takes, and so would all that follow."""
        if state.reachable or state not in self.states:
            return ""
        return await state.backend.boot()

    async def _identify(self, state: BackendState) -> None:
        """Read which server answers there, when it is new and from time to time."""
        now_s = time.monotonic()
        is_new = not state.server or not state.reachable
        if not is_new and now_s - state.identified_at_s < IDENTIFY_EVERY_S:
            return
        found = await state.backend.server()
        state.identified_at_s = now_s
        if isinstance(found, str) and found:
            state.server = found

    async def _look(self, state: BackendState) -> None:
        """Read what a server has, before it gets its first job and from time to time."""
        known, backend = state.known, state.backend
        if state in self.states and not state.reachable:
            await known.look(backend, may_have_changed=True)
        elif state in self.states and known.is_due:
            if self._polling is None:
                await known.look(backend, may_have_changed=False)
            else:  # it takes a while, and the polls must go on
                look = partial(known.look, may_have_changed=False)
                self._polling.start_soon(look, backend)

    def lacking(self, needs: Needs) -> dict[str, tuple[Missing, ...]]:
        """Return the backends that cannot run a job, by name, with what each lacks."""
        found = {state.backend.name: state.can_run(needs) for state in self.states}
        return {name: lacks for name, lacks in found.items() if lacks}

    def why_none(self, needs: Needs) -> str:
        """Return why no backend in service can run a job; empty where one can, or none serves."""
        serving = [state for state in self.states if not state.is_retired]
        if not serving or not all(state.can_run(needs) for state in serving):
            return ""
        self.look_soon()
        servers = [Server(state.shown, state.capabilities, state.labels) for state in serving]
        return why_none(servers, needs)

    def look_soon(self) -> None:
        """Read again soon what each server has: a job was refused, or waits, for what it lacked."""
        for state in self.states:
            state.known.is_wanted = True

    def misses(self, state: BackendState) -> str | None:
        """Return why the server that a job names cannot be asked here, None where it may be."""
        wanted = state.wanted_server
        if wanted.startswith(ON_HOST):
            return f"it is an address of {wanted}"
        if wanted and state.server not in ("", wanted):
            return "another server answers at this address"
        return None

    def has_taken(self, state: BackendState, prompt: Abandoned) -> bool:
        """Say whether an abandoned prompt is one of this server's, as far as that is known."""
        if prompt.server and state.server:
            if prompt.server != state.server:
                return False
            # Another one with the same identity may only share the folder that it stands in.
            return self.state_of(prompt.backend, prompt.server) is state
        if prompt.server.startswith(ON_HOST) and prompt.server != f"{ON_HOST}{self.host}":
            return False
        return prompt.backend == state.backend.name and self.misses(state) is None

    def identity_of(self, state: BackendState) -> str:
        """Return what tells the server from others; on a loopback address the host, if need be."""
        if not state.server and self.host and is_loopback(state.backend.name):
            return f"{ON_HOST}{self.host}"
        return state.server

    async def aclose(self) -> None:
        """Close every backend, the unlisted ones included."""
        for state in self.all_states:
            await close(state.backend)
