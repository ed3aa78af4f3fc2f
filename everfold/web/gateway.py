"""What the routes of one gateway share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from everfold.archives.kept_archive import KeptArchive
from everfold.assets.channels import Channels
from everfold.client import Everfold
from everfold.metrics.sampled import Sampled
from everfold.projector.job.job import Job
from everfold.streams.errors import JobUnknown
from everfold.web.access.doorkeeper import Doorkeeper
from everfold.web.access.held_bodies import HeldBodies
from everfold.web.access.open_streams import OpenStreams
from everfold.web.caller import Caller
from everfold.web.comfyui.front_end.installed import find_front_end, find_templates
from everfold.web.comfyui.jobs.shown_prompts import ShownPrompts
from everfold.web.comfyui.server.catalogue import Catalogue
from everfold.web.comfyui.server.connections import BackendConnections
from everfold.web.comfyui.socket.hub import Hub
from everfold.web.counters import Counters
from everfold.web.farm.charts.charts import Charts
from everfold.web.farm.farm_feed import FarmFeed
from everfold.web.feeds.feeds import Feeds
from everfold.web.listing import Listing
from everfold.web.looks import Look, Looks
from everfold.web.own.doctor.examined import Examinations
from everfold.web.own.moment.moments import Moments
from everfold.web.settings import WebSettings
from everfold.web.v2.stream.job_stream import JobStreams


class Gateway:
    """One gateway of a namespace. `open` it before it answers anything."""

    def __init__(self, everfold: Everfold, settings: WebSettings) -> None:
        self.everfold = everfold
        self.settings = settings
        self.feeds = Feeds(everfold.log)
        self.hub = Hub(everfold, self.feeds)
        """The websockets of ComfyUI's clients."""
        self.streams = OpenStreams()
        self.held_bodies = HeldBodies()
        self.doorkeeper = Doorkeeper(everfold.log, settings)
        self.front_end = find_front_end(settings.front_end)
        """The folder of ComfyUI's web front end, if there is one here."""
        self.templates = find_templates(self.front_end) if self.front_end else ()
        self.backends = BackendConnections(settings.accesses)
        self.counters = Counters()
        self.sampled = Sampled(everfold)
        self.charts = Charts(everfold.log, self.feeds)
        self.examinations = Examinations(everfold.log)
        self.farm = FarmFeed(everfold, self.feeds, self.sampled, self.charts, self.examinations)
        self.looks = Looks(everfold.log)
        self.listing = Listing(everfold)
        self.archive = KeptArchive(everfold.log)
        self.moments = Moments(everfold.log, self.archive)
        self.channels = Channels()
        self.catalogue = Catalogue(everfold.log)
        self.shown_prompts = ShownPrompts(everfold.log, self.catalogue.output_classes)
        self.job_streams = JobStreams(self)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run what goes on beside the requests; a namespace that does not exist is made."""
        await self.everfold.log.make()
        async with self.feeds:
            following = asyncio.create_task(self.doorkeeper.keys.follow(self.streams))
            try:
                yield
            finally:
                self.streams.close()
                await self.farm.aclose()
                await self.charts.aclose()
                await self.backends.aclose()
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following

    def acting_as(self, caller: Caller) -> Everfold:
        """Return the client as one whose acts are recorded as this caller's."""
        return self.everfold.acting_as(caller.actor)

    async def job(self, caller: Caller, job_id: str) -> Job:
        """Return a job that the caller may see. Raises JobUnknown for any other."""
        job = await self.everfold.get(job_id)
        if not caller.sees(job.user):
            raise JobUnknown(job_id)
        return job

    async def look(self, caller: Caller, job_id: str) -> Look:
        """Return a job that the caller may see, and where it waits. Raises JobUnknown as `job`."""
        look = await self.looks.look(job_id)
        if not caller.sees(look.job.user):
            raise JobUnknown(job_id)
        return look
