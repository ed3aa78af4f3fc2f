"""What every job run of a runner shares."""

from __future__ import annotations

import anyio
from msgspec import Struct

from runner.config import RunnerConfig
from runner.fleet import Fleet
from runner.lease_book import LeaseBook
from streams.dispatch import Dispatch
from streams.log import Log
from streams.rewind import ServerWatch


class Surroundings(Struct, frozen=True, eq=False):
    log: Log
    dispatch: Dispatch
    leases: LeaseBook
    fleet: Fleet
    config: RunnerConfig
    server: ServerWatch
    opening: anyio.Semaphore
    """Held while a job run reads its job: thousands that begin at once must not slow the claims."""
