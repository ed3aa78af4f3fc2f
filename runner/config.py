"""How a runner behaves: every number with its unit and its reason."""

from __future__ import annotations

import os
import secrets
import socket

from msgspec import Struct

from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_name, check_texts
from everfold.streams.events.limits import EVENT_LIMIT_BYTES
from everfold.streams.events.ranges import RANGES, check_config


class RunnerConfig(Struct, frozen=True, kw_only=True):
    """Settings of one runner; `name` is required. Raises Misconfigured when they make no sense."""

    name: str
    """Unique per process start: the consumer, the lease owner and the actor in events."""
    queues: tuple[str, ...] = ("default",)
    slots: int = 2
    """Jobs that a backend may hold: one runs, one waits, so that it never idles between two."""

    lease_ttl_s: float = 10.0
    """Long enough to outlast a pause of the process, short enough for others to wait for."""
    renew_every_s: float = 2.0
    lease_margin_s: float = 1.0
    """Nothing is sent under a lease that ends within this time."""
    stuck_after_s: float = 60.0
    """Leases are no longer renewed once the event loop has stood still for this long."""

    sweep_every_s: float = 0.5
    """How often orphaned jobs are looked for."""
    suspect_after_s: float = 1.0
    """A runner without any connection for this long is dead, even before its leases end."""
    poll_every_s: float = 1.0
    """How often work is looked for when no hint comes."""

    room_within_s: float = 2.0
    """A leased job that finds no room for this long is released and waits in Redis."""

    truth_every_s: float = 2.0
    """How often a watched attempt is checked over HTTP, whatever the websocket says."""
    truth_while_stopping_s: float = 0.3
    """How often the truth is asked for right after an attempt was stopped."""
    silent_after_s: float = 15.0
    """Reconnect the websocket of a running attempt that shows no progress for this long."""
    submit_grace_s: float = 2.0
    """Bytes that were sent may arrive this long after their sender can send no more."""
    progress_every_s: float = 0.5
    """At most one progress event per job in this time."""
    event_limit_bytes: int = EVENT_LIMIT_BYTES
    """No event is larger: of larger outputs, references to files and small values are recorded."""

    collect_within_s: float = 300.0
    """How long output files are tried again while their server or the store is in the way."""
    output_limit_bytes: int = 16 * 2**30
    """No larger output file is stored."""
    thumbnails: bool = True
    """Whether stored pictures get small ones, where the runner was given what makes them."""

    refused_for_s: float = 300.0
    """A runner that the server refuses for so long (password, rights) drains and ends."""

    drain_s: float = 10.0
    """On SIGTERM: how long jobs may go on before their leases are released."""

    def __post_init__(self) -> None:
        check_name("runner name", self.name)
        for queue in check_texts("queues", self.queues):
            check_name("queue", queue)
        if not self.queues:
            raise Misconfigured("a runner serves at least one queue")
        if not isinstance(self.thumbnails, bool):
            raise Misconfigured("thumbnails are made or not: True or False")
        check_config(self, [name for name in self.__struct_fields__ if name in RANGES])
        if self.renew_every_s * 2 + self.lease_margin_s > self.lease_ttl_s:
            raise Misconfigured(
                f"leases of {self.lease_ttl_s} s must survive one missed renewal: "
                f"renew_every_s ({self.renew_every_s}) is at most half of "
                f"lease_ttl_s - lease_margin_s ({self.lease_ttl_s - self.lease_margin_s})"
            )


def runner_name(prefix: str = "") -> str:
    """Return a name for this process start: host (or `prefix`), pid, and 64 random bits."""
    host = prefix or "".join(c for c in socket.gethostname() if c.isalnum() or c in "-_")[:24]
    return f"{host or 'runner'}-{os.getpid()}-{secrets.token_hex(8)}"
