"""runner/claiming/heartbeat.py as steps: what runners tell each other of backends, and what is left
behind on them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from everfold.runner.backend import Absent, Ended
from everfold.runner.execution.attempt_place import attempt_at
from everfold.runner.fleet.backend_state import BackendState
from everfold.streams.errors import Unavailable
from everfold.streams.leases.backends import Abandoned, BackendEntry
from everfold.streams.leases.registry import BEAT_EVERY_S
from tests.simulation.process import REDIS
from tests.simulation.tasks import Steps, ask

if TYPE_CHECKING:
    from tests.simulation.runner import Runner


class Heartbeat:
    def __init__(self, runner: Runner) -> None:
        self._runner, self._agenda = runner, runner.agenda
        self._server = runner.world.server

    def beating(self) -> Steps[None]:
        while True:
            with suppress(Unavailable):
                yield from self._beat()
            yield int(BEAT_EVERY_S * 1000)

    def _beat(self) -> Steps[None]:
        server, states = self._server, self._runner.states
        now_ms, before = yield from ask(REDIS, server.backends_seen, "seen_backends")
        rows = [
            self._row(state, now_ms)
            for state in states
            if state.reachable or state.backend.name not in before
        ]
        rows += [
            replace(before[state.backend.name], is_reached=False, by=self._runner.name)
            for state in states
            if not state.reachable and state.was_asked and state.backend.name in before
        ]
        yield from ask(REDIS, lambda: server.note_backends(rows), "note_backends")
        retired = yield from ask(REDIS, lambda: set(server.retired), "retired_backends")
        for state in states:
            state.is_retired = state.backend.name in retired
            state.note_seen(
                before.get(state.backend.name),
                own=self._runner.name,
                now_ms=now_ms,
                now_s=self._agenda.now_ms / 1000,
                unsure_to_ms=self._runner.clock.unsure_to_ms,
            )
        yield from self._stop_abandoned()

    def _row(self, state: BackendState, now_ms: int) -> BackendEntry:
        return BackendEntry(
            name=state.backend.name,
            seen_ms=now_ms,
            by=self._runner.name,
            is_reached=state.reachable,
            why=state.why_not,
        )

    def _stop_abandoned(self) -> Steps[None]:
        prompts = yield from ask(REDIS, lambda: list(self._server.abandoned.values()), "abandoned")
        for state in self._runner.states:
            left = [prompt for prompt in prompts if prompt.backend == state.backend.name]
            state.has_abandoned = bool(left)
            if state.reachable:
                state.has_abandoned = False
                for prompt in left:
                    is_over = yield from self._is_over(prompt)
                    state.has_abandoned = state.has_abandoned or not is_over

    def _is_over(self, prompt: Abandoned) -> Steps[bool]:
        server = self._server
        job = yield from ask(REDIS, lambda: server.states[prompt.job_id][-1], "read_job")
        if job.may_be_alive and job.attempt == prompt.attempt:
            return True
        remote = self._runner.remotes[prompt.backend]
        truth = yield from remote.truth(prompt.prompt_id, "")
        if not isinstance(truth, Ended | Absent):
            yield from remote.cancel(attempt_at(prompt))
            truth = yield from remote.truth(prompt.prompt_id, "")
        if not isinstance(truth, Ended | Absent):
            return False
        forget = prompt.prompt_id
        yield from ask(REDIS, lambda: server.abandoned.pop(forget, None), "forget_abandoned")
        return True
