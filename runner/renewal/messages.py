"""What a runner and the process that renews its leases tell each other, as JSON lines.

Rule: the first line is Setup: a password is never on a command line or in an environment.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.border.secrets import Secret
from everfold.streams.events.json_text import decoder

BEAT_EVERY_S = 0.5
"""How often a runner says that its event loop turns."""


class Server(Struct, frozen=True, kw_only=True):
    """Where the server is, and how to log in."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    """Of a unix socket; empty for TCP."""
    database: int = 0
    username: str = ""
    password: Secret = Secret("")
    tls: dict[str, str | int | bool] | None = None
    """Arguments of redis-py's SSLConnection; None without TLS."""


class Place(Struct, frozen=True, kw_only=True):
    """How the primaries are found."""

    kind: str
    """server, sentinel or cluster."""
    asked: tuple[Server, ...]
    """The server, the sentinels, or some nodes of the cluster."""
    data: Server
    """How to log in at a primary whose host and port are found."""
    service: str = ""
    """The name by which the sentinels know the primary."""


class Setup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first message: everything that does not change."""

    place: Place
    runner: str
    runner_pid: int
    connection_name: str
    script: str
    """The text of renew.lua."""
    renew_every_s: float
    stuck_after_s: float
    timeout_s: float
    """Longest wait for a connection, and for an answer."""


class Hold(Struct, frozen=True, tag="hold"):
    """Renew this lease from now on. An older one of the same job is forgotten."""

    job_id: str
    epoch: int
    dispatch: str
    """Key of the dispatch stream."""
    dispatch_id: str
    head: str
    """Key of the job's head."""


class Forget(Struct, frozen=True, tag="forget"):
    """Renew this lease no more."""

    job_id: str
    epoch: int


class Beat(Struct, frozen=True, tag="beat"):
    """The runner's event loop turns. Answered by the same."""

    number: int


class Outcome(Struct, frozen=True, array_like=True):
    """What the server said of one lease."""

    job_id: str
    epoch: int
    current_epoch: int = 0
    """The job's present epoch, -1 when the server knows no such job."""


class Round(Struct, frozen=True, kw_only=True, tag="round"):
    """What one primary said of the leases that are renewed there."""

    node: str
    """host:port"""
    asked_at_s: float
    """`steady_s()` before the server was asked."""
    renewed: tuple[Outcome, ...] = ()
    over: tuple[Outcome, ...] = ()
    """Leases that are over. They are renewed no more."""
    canceling: tuple[Outcome, ...] = ()
    """Those of `renewed` whose jobs are to be canceled, each named once."""
    failed: tuple[Outcome, ...] = ()
    """Leases about which the server answered an error."""


class Missed(Struct, frozen=True, tag="missed"):
    """Leases of this primary, or whose primary is not known, were not renewed."""

    why: str
    node: str = ""


ToRenewer = Setup | Hold | Forget | Beat
FromRenewer = Beat | Round | Missed


def _read(_: type, value: object) -> Secret:
    return Secret(str(value))


def _written(value: object) -> str:
    """Give the password away: the pipe leads to the runner's own process alone."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


decode_to_renewer = decoder(cast("type[ToRenewer]", ToRenewer), own_type=_read)
decode_from_renewer = decoder(cast("type[FromRenewer]", FromRenewer))


def line(message: ToRenewer | FromRenewer) -> bytes:
    """Return a message as it is written to a pipe."""
    return msgspec.json.encode(message, enc_hook=_written) + b"\n"
