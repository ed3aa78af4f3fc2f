"""The server that one attempt begins on: reserved, met, and found to have what the job needs.

Rule: the others are not looked at, one by one, while the one that was reserved takes a job without
files: there may be hundreds of them. A server that does not say which boot it is gets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from everfold.runner.backend import Unreachable
from everfold.runner.execution.job_backend import JobSlot
from everfold.runner.execution.job_log import JobLog
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.inputs.while_wanted import WANTED_EVERY_S, WhileWanted
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.needs import Needs

SLOW_S = 3.0
"""How long a server may take to say which boot it is, while another one has room."""

NO_STORE = "its outputs must be stored, and this runner has no store of assets"


class AttemptServer:
    """Finds the servers of one job run's attempts."""

    def __init__(self, shared: Shared, job_log: JobLog, slot: JobSlot) -> None:
        self._shared, self._job_log, self._slot = shared, job_log, slot

    async def reserve(self, needs: Needs) -> BackendState | str:
        """Return a backend that can run the job, with a slot; why none can, empty when none has
        room in time."""
        fleet, job, files = self._shared.fleet, self._job_log.job, self._shared.input_files
        if job.policy.outputs == "require" and self._shared.assets is None:
            return NO_STORE
        why_none = fleet.why_none(needs)
        if job.inputs and not why_none:
            why_none = files.why_none(job.inputs, self.able(needs))
        if why_none:
            return why_none
        here = self._slot.state
        if here is not None and here.takes_jobs and self._suits(here, needs):
            return here
        within_s = self._shared.config.room_within_s
        return await self._slot.reserve(within_s, self._unable(needs)) or ""

    async def meet(self, state: BackendState, needs: Needs) -> str | None:
        """Return which boot of the server this is; None where the attempt does not begin there."""
        boot = await self._boot(state, needs)
        if isinstance(boot, Unreachable):
            # It may answer all polls, so that the job would wait here for ever.
            state.mark_refusing(boot.why)
        if not isinstance(boot, str) or not await self._still_fits(state, boot, needs):
            return None
        return boot

    def able(self, needs: Needs) -> list[str]:
        """Return the backends in service that can run the job, its files aside."""
        fleet, refused_by = self._shared.fleet, self._job_log.job.refused_by
        unable = {*refused_by, *fleet.lacking(needs)}
        names = [state.backend.name for state in fleet.states if not state.is_retired]
        return [name for name in names if name not in unable]

    def elsewhere(
        self, state: BackendState, needs: Needs, slow_s: float
    ) -> Callable[[], Awaitable[None]]:
        """Return what returns once another server has room while this one is silent, or has taken
        `slow_s`."""
        return partial(self._until_elsewhere, state, needs, slow_s)

    def _suits(self, state: BackendState, needs: Needs) -> bool:
        job, name = self._job_log.job, state.backend.name
        avoided = self._shared.input_files.avoided(job.inputs) if job.inputs else ()
        return name not in job.refused_by and name not in avoided and not state.can_run(needs)

    def _unable(self, needs: Needs) -> set[str]:
        """Return the backends that cannot run the job."""
        fleet, job, files = self._shared.fleet, self._job_log.job, self._shared.input_files
        return {*job.refused_by, *fleet.lacking(needs), *files.avoided(job.inputs)}

    async def _boot(self, state: BackendState, needs: Needs) -> str | Unreachable | None:
        """Return which boot of the server this is. None where it says nothing, and another one has
        room: it may answer polls alone, and never this."""
        if state.answers:
            with suppress(TimeoutError):
                async with asyncio.timeout(WANTED_EVERY_S):
                    return await state.backend.boot()
        boot = await WhileWanted(state.backend.boot, self.elsewhere(state, needs, SLOW_S)).run()
        if boot is None and state.answers:
            state.mark_refusing(f"it has not said for {SLOW_S:.0f} s which boot it is")
        return boot

    async def _until_elsewhere(self, state: BackendState, needs: Needs, slow_s: float) -> None:
        fleet, without, began_s = self._shared.fleet, {state.backend.name}, steady_s()
        without |= self._unable(needs)
        while True:
            is_slow = not state.answers or steady_s() - began_s >= slow_s
            if is_slow and fleet.has_room(without):
                return
            await anyio.sleep(WANTED_EVERY_S)

    async def _still_fits(self, state: BackendState, boot: str, needs: Needs) -> bool:
        """Say whether the server can run the job; read what it has anew if it has restarted."""
        known = state.known
        if known.boot not in ("", boot):
            await known.look(state.backend, may_have_changed=True)
        known.boot = boot
        return not state.can_run(needs)
