"""How a runner behaves: every number with its unit and its reason."""

from __future__ import annotations

import os
import secrets
import socket

from msgspec import Struct

from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_name


class RunnerConfig(Struct, frozen=True, kw_only=True):
    name: str
    """Unique per process start: the consumer, the lease owner and the actor in events."""
    queues: tuple[str, ...] = ("default",)
    slots: int = 2
    """Jobs that a backend may hold: one runs, one waits, so that it never idles between two."""

    lease_ttl_s: float = 10.0
    """Long enough for a pause of the whole process, short enough to wait for."""
    renew_every_s: float = 2.0
    lease_margin_s: float = 1.0
    """Within this time of its end a lease is not trusted to begin anything new."""
    stuck_after_s: float = 60.0
    """An event loop that stood still for so long no longer gets its leases renewed."""

    sweep_every_s: float = 0.5
    """How often orphaned leases are looked for."""
    suspect_after_s: float = 1.0
    """A runner without any connection for so long is taken for dead before its leases end."""
    poll_every_s: float = 1.0
    """Looking for work without having been woken."""

    room_within_s: float = 2.0
    """A job in hand that finds no room for so long goes back to wait in Redis."""

    truth_every_s: float = 2.0
    """How often a followed job is checked over HTTP, whatever the websocket says."""
    truth_while_stopping_s: float = 0.3
    silent_after_s: float = 15.0
    """A running job without a websocket frame for so long: the socket may be deaf, reconnect."""
    submit_grace_s: float = 2.0
    """Bytes that were sent may still arrive for so long after nobody can send any more."""
    progress_every_s: float = 0.5

    drain_s: float = 10.0
    """On SIGTERM: how long running jobs may finish before they are handed over."""

    def __post_init__(self) -> None:
        check_name("runner name", self.name)
        for queue in self.queues:
            check_name("queue", queue)
        if not self.queues:
            raise Misconfigured("a runner serves at least one queue")
        if self.slots < 1:
            raise Misconfigured(f"slots is {self.slots}; a backend needs at least one")
        if self.renew_every_s * 2 + self.lease_margin_s > self.lease_ttl_s:
            raise Misconfigured(
                f"leases of {self.lease_ttl_s} s must survive one missed renewal: "
                f"renew_every_s ({self.renew_every_s}) is at most half of "
                f"lease_ttl_s - lease_margin_s ({self.lease_ttl_s - self.lease_margin_s})"
            )


def runner_name(prefix: str = "") -> str:
    """Return a name for this process start: host (or `prefix`), pid, and a nonce."""
    host = prefix or "".join(c for c in socket.gethostname() if c.isalnum() or c in "-_")[:24]
    return f"{host or 'runner'}-{os.getpid()}-{secrets.token_hex(2)}"
