"""Tells the namespace that this runner lives and what it sees, and reads what operators ask for.

Rule: it never ends for anything it reads, and writes the runner's entry at each beat, so that one
that was removed comes back. How long a backend is away is measured here, by a steady clock from
the last time that any runner was seen to reach it.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from msgspec.structs import replace

from everfold.runner.capabilities.capability_store import CapabilityStore
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import (
    EverfoldError,
    Misconfigured,
    NamespaceMadeAnew,
    NamespaceTooNew,
    RunnerNameTaken,
    ServerRefusesAccess,
)
from everfold.streams.leases.backends import (
    BackendEntry,
    SeenBackends,
    backend_entries,
    configured_names,
    forget_old,
    given_up_attempts,
    is_loopback,
    note_backends,
    retired_backends,
)
from everfold.streams.leases.drains import drain_wishes
from everfold.streams.leases.registry import (
    BEAT_EVERY_S,
    LATELY_S,
    RunnerEntry,
    register_runner,
    registered_runner,
    registered_runners,
    silence_s,
)
from everfold.streams.redis.pages import Hashes, read_hashes
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.runner")

LOOK_EVERY_S = 0.2
CLEAN_EVERY_S = 3600.0

CONFIRM_AFTER_S = 0.05
"""Of two runners that register one name at once, the one that wrote last stays."""


class Heartbeat:
    """One runner's heartbeat; `entry` is what it registers."""

    def __init__(
        self,
        shared: Shared,
        entry: RunnerEntry,
        refuse: Callable[[Misconfigured], None],
        drain: Callable[[str], None],
        present: Callable[[RunnerEntry], RunnerEntry],
        on_read: Callable[[Hashes], None],
    ) -> None:
        self._shared = shared
        self._store = CapabilityStore(shared.log)
        self._refused_since_s: float | None = None
        self.entry = entry
        self._refuse = refuse
        """Called when this runner may not go on: its name is taken, it is too old or refused."""
        self._drain = drain
        """Called with the operator who wants this runner to drain, at each beat from then on."""
        self._present = present
        """Returns the entry with what this runner does now."""
        self._on_read = on_read
        """Called with what each beat has read, the prompts that were given up too."""
        self._is_woken = False
        self._cleaned_at_s = steady_s()

    def wake(self, runner: str) -> None:
        """Beat at once: an operator wants something of this runner."""
        self._is_woken = self._is_woken or runner == self.entry.runner

    async def run(self) -> None:
        """Beat until cancelled; trouble of the server is waited out, and named in the log.

        The runner has beaten once before it works.
        """
        while True:
            await self._pause()
            try:
                await self.beat()
                self._note_access()
            except (NamespaceTooNew, NamespaceMadeAnew, RunnerNameTaken) as error:
                self._refuse(error)
                return
            except ServerRefusesAccess as error:
                self._note_refusal(error)
            except EverfoldError as error:
                logger.warning("heartbeat_missed why=%r", str(error))

    async def _pause(self) -> None:
        """Wait for the next beat: at once after a reconnect, for this runner may have been removed
        meanwhile."""
        opened, until_s = self._shared.log.redis.connections_opened(), steady_s() + BEAT_EVERY_S
        while steady_s() < until_s:
            await anyio.sleep(LOOK_EVERY_S)
            if self._is_woken or self._shared.log.redis.connections_opened() != opened:
                self._is_woken = False
                return

    def _note_access(self) -> None:
        if self._refused_since_s is not None:
            logger.warning("server_accepts_again after_s=%.0f", steady_s() - self._refused_since_s)
        self._refused_since_s = None

    def _note_refusal(self, error: ServerRefusesAccess) -> None:
        limit_s = self._shared.config.refused_for_s
        if self._refused_since_s is None:
            self._refused_since_s = steady_s()
            logger.error("server_refuses_access why=%r drains_after_s=%g", str(error), limit_s)
        elif steady_s() - self._refused_since_s > limit_s:
            self._refuse(error)

    async def beat(self) -> None:
        """Write what this runner is and sees; read what others saw and operators want."""
        log, fleet, live = self._shared.log, self._shared.fleet, self._shared.live
        calls = live.calls
        read = await self._read()
        fleet.neighbours = await registered_runners(log, read)
        states, now_ms = fleet.all_states, read.time_ms
        await self._register(read)
        entries = await backend_entries(log, read)
        known = [state.capabilities for state in states if state.reachable]
        await self._store.keep(info for info in known if info is not None)
        fleet.configured = configured_names(fleet.neighbours.values(), entries)
        seen = SeenBackends(entries)
        written = [entry for s in states for entry in self._to_write(s, seen, now_ms)]
        await note_backends(log, written, entries)
        wish = (await drain_wishes(log, read)).get(self.entry.runner)
        if wish is not None and wish.instance == self.entry.instance:
            self._drain(wish.actor)
        self._on_read(read)
        live.note_read(log.keys.listening() in read.others, calls)
        retired = await retired_backends(log, read)
        given_up = await given_up_attempts(log, read)
        fleet.given_up = {job: mark.attempt for job, mark in given_up.items()}
        for state in states:
            marks = [retired[n] for n in (state.backend.name, _server(state)) if n in retired]
            state.is_retired = any(not mark.is_drain for mark in marks)
            state.is_drained = any(mark.is_drain for mark in marks)
            of_state = self._entries_of(state, seen)
            state.note_seen(
                max(of_state, key=lambda entry: entry.seen_ms, default=None),
                own=self.entry.runner,
                now_ms=now_ms,
                now_s=steady_s(),
                unsure_to_ms=self._shared.dispatch.clock.unsure_to_ms,
            )
        if steady_s() - self._cleaned_at_s > CLEAN_EVERY_S:
            self._cleaned_at_s = steady_s()
            await forget_old(log)
        await log.servers.look_at_all()

    async def _read(self) -> Hashes:
        """Read all that a beat looks at, in one trip."""
        keys = self._shared.log.keys
        entries = (keys.meta(), keys.runners(), keys.backends(), keys.listening())
        wishes = (keys.drains(), keys.retired(), keys.given_up(), keys.abandoned())
        return await read_hashes(self._shared.log.redis, [*entries, *wishes])

    async def begin(self) -> None:
        """Register, unless another runner that lives has the name.

        Raises RunnerNameTaken, NamespaceTooNew, or a leaf of Unavailable.
        """
        log, name = self._shared.log, self.entry.runner
        await log.check_level()
        found, now_ms = await registered_runner(log, name), await server_time_ms(log.redis)
        if found is not None and silence_s(found.seen_ms, now_ms) < LATELY_S:
            # A dead one writes no more; a living one does within two beats.
            await anyio.sleep(2 * BEAT_EVERY_S)
            again = await registered_runner(log, name)
            if again is not None and again.seen_ms != found.seen_ms:
                raise RunnerNameTaken(name, again.host, again.pid)
        await register_runner(log, replace(self.entry, seen_ms=now_ms))
        await anyio.sleep(CONFIRM_AFTER_S)
        written = await registered_runner(log, name)
        if written is not None and written.instance != self.entry.instance:
            raise RunnerNameTaken(name, written.host, written.pid)

    async def _register(self, read: Hashes) -> None:
        """Write this runner's entry.

        Of two that began at once with one name, the one that started later stops.
        """
        log, entry = self._shared.log, self.entry
        await log.check_level(read.found.get(log.keys.meta()))
        now_ms = read.time_ms
        found = self._shared.fleet.neighbours.get(entry.runner)
        is_late = found is None or silence_s(found.seen_ms, now_ms) > LATELY_S
        if found is not None and not is_late and found.instance not in ("", entry.instance):
            if (found.since_ms, found.instance) < (entry.since_ms, entry.instance):
                raise RunnerNameTaken(entry.runner, found.host, found.pid)
            logger.error("runner_name_taken runner=%s by=%s", entry.runner, found.pid)
        states = self._shared.fleet.all_states
        reaches = tuple(state.backend.name for state in states if state.reachable)
        present = replace(self._present(entry), seen_ms=now_ms, reaches=reaches)
        await register_runner(log, present)

    def _to_write(self, state: BackendState, seen: SeenBackends, now_ms: int) -> list[BackendEntry]:
        """Return what is new of a backend; when one was reached last stays where it is not."""
        found = self._entries_of(state, seen)
        if state.reachable or not found:
            return [self._seen_now(state, now_ms)]
        ours = [entry for entry in found if entry.name == state.backend.name]
        return [new for entry in ours if (new := self._corrected(state, entry)) != entry]

    def _corrected(self, state: BackendState, entry: BackendEntry) -> BackendEntry:
        """Return an entry with what this runner knows of a backend that it does not reach."""
        is_configured = entry.is_configured or self._shared.fleet.is_configured(state)
        entry = replace(entry, is_configured=is_configured, title=self._title_of(state))
        if not state.was_asked or not self._may_correct(entry):
            return entry
        return replace(entry, is_reached=False, why=state.why_not, by=self.entry.runner)

    def _may_correct(self, entry: BackendEntry) -> bool:
        """Say whether no other living runner may have written the entry."""
        return entry.by == self.entry.runner or entry.by not in self._shared.fleet.neighbours

    def _seen_now(self, state: BackendState, now_ms: int) -> BackendEntry:
        return BackendEntry(
            name=state.backend.name,
            server=_server(state),
            host=self.entry.host,
            seen_ms=now_ms,
            by=self.entry.runner,
            is_reached=state.reachable,
            why=state.why_not,
            is_configured=self._shared.fleet.is_configured(state),
            title=self._title_of(state),
            labels=tuple(sorted(state.labels)),
            slots=state.slots,
            busy=state.reserved + state.others,
            object_info=state.capabilities.hash if state.capabilities else "",
            described=_described(state.capabilities),
        )

    def _title_of(self, state: BackendState) -> str:
        """Return what this runner calls a backend, else what another one calls that address."""
        if state.title:
            return state.title
        name, host = state.backend.name, self.entry.host
        others = self._shared.fleet.neighbours.values()
        titles = (
            one.titles.get(name) for one in others if one.host == host or not is_loopback(name)
        )
        return next((title for title in titles if title), "")

    def _entries_of(self, state: BackendState, seen: SeenBackends) -> list[BackendEntry]:
        """Return what the runners last saw of this server, whatever address they have for it."""
        return seen.of(state.backend.name, _server(state), self.entry.host)


def _described(info: ObjectInfo | None) -> str:
    return info.described.hash if info and info.described else ""


def _server(state: BackendState) -> str:
    """Return the identity of the server that is meant by this state, empty while unknown."""
    return state.wanted_server or state.server
