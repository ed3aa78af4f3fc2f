"""The services that all actors and job runs of one runner share."""

from __future__ import annotations

import anyio
from msgspec import Struct, field

from everfold.runner.config import RunnerConfig
from everfold.runner.costs.cost_store import CostStore
from everfold.runner.fleet.fleet import Fleet
from everfold.runner.inputs.input_files import InputFiles
from everfold.runner.live.live_channel import LiveChannel
from everfold.runner.outputs.output_collection import Thumbnail
from everfold.runner.outputs.places import Places
from everfold.runner.renewal.lease_renewer import LeaseRenewer
from everfold.runner.telemetry.span_reporter import SpanReporter
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.leases.dispatch import Dispatch


class Shared(Struct, frozen=True, eq=False):
    """Made once by the runner, passed to everything that works for it."""

    log: Log
    assets: AssetStore | None
    dispatch: Dispatch
    leases: LeaseRenewer
    fleet: Fleet
    input_files: InputFiles
    config: RunnerConfig
    live: LiveChannel
    costs: CostStore
    spans: SpanReporter
    job_reads: anyio.Semaphore
    """Held while a job run reads its job: thousands that start at once must not delay claims."""
    thumbnail: Thumbnail | None = None
    """None where none are made."""
    storing: Places = field(default_factory=Places)
    """Held while output files are stored."""
