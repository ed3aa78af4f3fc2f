"""The rows of Everfold's own routes."""

from __future__ import annotations

from everfold.web.farm.charts.chart_route import CHARTS
from everfold.web.farm.stream.farm_stream import FARM_STREAM
from everfold.web.farm.stream.preview import PREVIEW
from everfold.web.openapi.route import OPENAPI
from everfold.web.operation import Operation
from everfold.web.own.acts import ACTS_ON_JOBS
from everfold.web.own.capabilities import CAPABILITIES
from everfold.web.own.doctor.doctor_route import DOCTOR
from everfold.web.own.events.all_events import ALL_EVENTS
from everfold.web.own.events.job_events import EVENTS
from everfold.web.own.farm import FARM
from everfold.web.own.jobs import JOBS
from everfold.web.own.kept.archive import ARCHIVE
from everfold.web.own.kept.assets import ASSETS
from everfold.web.own.many_jobs import MANY_JOBS
from everfold.web.own.metrics import METRICS
from everfold.web.own.moment.moment_route import MOMENT
from everfold.web.own.probes import PROBES
from everfold.web.own.queues import QUEUES
from everfold.web.own.story.graph import GRAPH
from everfold.web.own.story.proof import PROOF
from everfold.web.own.story.story import STORY
from everfold.web.own.subscriptions import SUBSCRIPTIONS
from everfold.web.own.whoami import WHO_AM_I

OWN: tuple[Operation, ...] = (
    *PROBES,
    *METRICS,
    *OPENAPI,
    *WHO_AM_I,
    # Before those of one job: no job's id is `cancel`.
    *MANY_JOBS,
    *JOBS,
    *EVENTS,
    *STORY,
    *PROOF,
    *GRAPH,
    *ACTS_ON_JOBS,
    *ALL_EVENTS,
    *QUEUES,
    *FARM,
    *CAPABILITIES,
    *FARM_STREAM,
    *CHARTS,
    *MOMENT,
    *DOCTOR,
    *ASSETS,
    *ARCHIVE,
    *PREVIEW,
    *SUBSCRIPTIONS,
)
