"""What an operator does with a namespace: look at its servers and runners, and change them.

Rule: every change is noted with its actor before it is done, see `Operations.acts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from everfold.moments import check_moment
from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.events.checks import check_text
from everfold.streams.events.limits import BACKEND_LIMIT
from everfold.streams.leases.acts import Act, acts
from everfold.streams.leases.backends import (
    BackendEntry,
    Mark,
    backend_entries,
    retire_backend,
    retired_backends,
    return_backend,
)
from everfold.streams.leases.drains import ask_to_drain, drain_wishes
from everfold.streams.leases.registry import registered_runners, silence_s
from everfold.streams.redis.server import server_time_ms


class BackendStatus(Plain, Struct, frozen=True):
    """One backend as the runners of a namespace see it."""

    name: str
    unseen_s: float
    """How long no runner has reached it."""
    why: str
    """Why it takes no jobs, empty while it does."""
    retired_by: str
    """Who took it out of service, empty while it is in service."""
    server: str = ""
    """Identity of the server there; two hosts may use one address for two servers."""
    title: str = ""
    """What people call it; empty: they call it by its address."""
    labels: tuple[str, ...] = ()
    """What was said that it has besides node classes and models."""
    slots: int = 0
    """Jobs that one runner gives to it, 0 while that is not known."""
    busy: int = 0
    """Prompts that run or wait there, whoever sent them, by the last heartbeat."""
    drained_by: str = ""
    """Who lets it take no new jobs, empty for nobody."""


class RunnerStatus(Plain, Struct, frozen=True):
    """One registered runner, as it was at its last heartbeat."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    """What people call them, else their addresses."""
    jobs: int
    """How many jobs it holds."""
    since_ms: int
    """When it started, Unix ms."""
    unseen_s: float
    """Since when it has not been heard of; a living one is heard of every 2 s."""
    version: str
    is_draining: bool
    drained_by: str
    """The operator who asked it to drain, empty for none."""


class Operations:
    """The calls of `Everfold` that are an operator's."""

    log: Log

    async def backends(self) -> Sequence[BackendStatus]:
        """Return every backend that a runner has seen in the last 7 days, by name."""
        entries, retired = await backend_entries(self.log), await retired_backends(self.log)
        now_ms = await server_time_ms(self.log.redis)
        return [
            BackendStatus(
                name=entry.name,
                server=entry.server,
                unseen_s=silence_s(entry.seen_ms, now_ms),
                why=entry.why,
                title=entry.title,
                labels=entry.labels,
                slots=entry.slots,
                busy=entry.busy,
                retired_by=_marked_by(entry, retired, is_drain=False),
                drained_by=_marked_by(entry, retired, is_drain=True),
            )
            for entry in entries
        ]

    async def retire_backend(self, name: str) -> None:
        """Take a backend out of service: it gets no new jobs and what waits there is taken back.

        What runs there goes on while a runner reaches it; what it holds while none does is lost
        at once and tried elsewhere. Runners act within seconds. `name` is an address, what people
        call the backend, or the identity of a server, of which only that one is retired. Raises
        BackendUnknown, or InvalidName for a name of several servers.
        """
        await retire_backend(self.log, check_text("backend", name, least=1, most=BACKEND_LIMIT))

    async def drain_backend(self, name: str) -> None:
        """Let a backend take no new jobs; what runs or waits there goes on, unlike when retired.

        `return_backend` ends that. `name` and errors are those of `retire_backend`.
        """
        known = check_text("backend", name, least=1, most=BACKEND_LIMIT)
        await retire_backend(self.log, known, is_drain=True)

    async def return_backend(self, name: str) -> bool:
        """Put a retired or drained backend into service again; False when it was neither.

        Raises BackendUnknown.
        """
        known = check_text("backend", name, least=1, most=BACKEND_LIMIT)
        return await return_backend(self.log, known)

    async def runners(self) -> Sequence[RunnerStatus]:
        """Return every registered runner, by name; a dead one until another has taken its jobs."""
        found, wishes = await registered_runners(self.log), await drain_wishes(self.log)
        now_ms = await server_time_ms(self.log.redis)
        return [
            RunnerStatus(
                name=name,
                host=entry.host,
                pid=entry.pid,
                queues=entry.queues,
                backends=tuple(entry.titles.get(url) or url for url in entry.backends),
                jobs=entry.jobs,
                since_ms=entry.since_ms,
                unseen_s=silence_s(entry.seen_ms, now_ms),
                version=entry.version,
                is_draining=entry.is_draining,
                drained_by=wishes[name].actor if name in wishes else "",
            )
            for name, entry in sorted(found.items())
        ]

    async def drain_runner(self, name: str) -> None:
        """Ask a runner to drain, as SIGTERM does: it takes no new jobs, lets running ones go on for
        its drain time, releases the rest, and ends.

        It begins at its next heartbeat at the latest, and is no longer among the `runners` once it
        has ended. Whatever supervises its process may start it anew. Raises RunnerUnknown, which
        names the nearest one.
        """
        await ask_to_drain(self.log, check_text("runner", name, least=1))

    async def acts(self, since: datetime | None = None) -> Sequence[Act]:
        """Return what operators did, by this client or any other, the oldest act first.

        The newest 10,000 acts of a namespace are kept. With `since` (a time without zone is local)
        only those from then on.
        """
        return await acts(self.log, check_moment("since", since) or 0)


def _marked_by(entry: BackendEntry, retired: Mapping[str, Mark], *, is_drain: bool) -> str:
    """Return who retired, or drained, the backend of an entry; empty for nobody."""
    marks = (retired[one] for one in (entry.name, entry.server) if one in retired)
    return next((mark.actor for mark in marks if mark.is_drain == is_drain), "")
