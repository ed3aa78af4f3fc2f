"""What every job run of a runner shares."""

from __future__ import annotations

import anyio
from msgspec import Struct

from everfold.runner.config import RunnerConfig
from everfold.runner.execution.fleet import Fleet
from everfold.runner.execution.lease_renewer import LeaseRenewer
from everfold.streams.appending.log import Log
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.retention.lost_writes import ServerWatch


class Shared(Struct, frozen=True, eq=False):
    log: Log
    dispatch: Dispatch
    leases: LeaseRenewer
    fleet: Fleet
    config: RunnerConfig
    server: ServerWatch
    opening: anyio.Semaphore
    """Held while a job run reads its job: thousands that begin at once must not slow the claims."""
