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


class Setup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first message: everything that does not change."""

    server: Server
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

    number: int
    """Of the message, counted from 1: a Round says up to which one it reaches."""
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
    """All leases were renewed that were to be held up to message `as_of`, but for those named."""

    as_of: int
    asked_at_s: float
    """`steady_s()` before the server was asked."""
    over: tuple[Outcome, ...] = ()
    """Leases that are over. They are renewed no more."""
    canceling: tuple[Outcome, ...] = ()
    """Renewed leases of jobs that are to be canceled, each named once."""
    failed: tuple[Outcome, ...] = ()
    """Leases about which the server answered an error."""


class Missed(Struct, frozen=True, tag="missed"):
    """Nothing was renewed in this round."""

    why: str


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
