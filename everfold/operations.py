"""What an operator does with a namespace: look at its servers and runners, and change them.

Rule: every change is noted with its actor before it is done, see `Operations.acts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from everfold.moments import check_moment
from everfold.streams.appending.log import Log
from everfold.streams.events.checks import check_text
from everfold.streams.events.limits import BACKEND_LIMIT
from everfold.streams.leases.acts import Act, acts
from everfold.streams.leases.backends import (
    backend_entries,
    retire_backend,
    retired_backends,
    return_backend,
)
from everfold.streams.redis.server import server_time_ms


class BackendStatus(Struct, frozen=True):
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
                unseen_s=max(0.0, (now_ms - entry.seen_ms) / 1000),
                why=entry.why,
                title=entry.title,
                labels=entry.labels,
                slots=entry.slots,
                retired_by=next(
                    (retired[one].actor for one in (entry.name, entry.server) if one in retired), ""
                ),
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

    async def return_backend(self, name: str) -> bool:
        """Put a retired backend into service again; False when it was not retired."""
        known = check_text("backend", name, least=1, most=BACKEND_LIMIT)
        return await return_backend(self.log, known)

    async def acts(self, since: datetime | None = None) -> Sequence[Act]:
        """Return what operators did, by this client or any other, the oldest act first.

        The newest 10,000 acts of a namespace are kept. With `since` (a time without zone is local)
        only those from then on.
        """
        return await acts(self.log, check_moment("since", since) or 0)
