"""Numbers for Prometheus: of the namespace, and of this gateway's own work.

Rule: gauges of the namespace are the same at each gateway; take them from one. A label has at most
LABELS_LIMIT values, what is beyond stands under OTHERS together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from everfold.queue_operations import QueueStatus
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import check_sees_all
from everfold.web.own.sampled import Sample
from everfold.web.query import Query

LABELS_LIMIT = 200
OTHERS = "(others)"

UNSEEN_S = 10.0
"""A backend that no runner has reached for so long is down, a runner that was silent is gone."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(call: Call) -> Response:
    """Return the metrics as text of Prometheus."""
    check_sees_all(call.caller)
    Query(call.request, ())
    sampled = await call.gateway.sampled.all()
    registry = CollectorRegistry()
    registry.register(_Namespace(sampled))
    body = generate_latest(registry) + generate_latest(call.gateway.counters.registry)
    return Response(body, headers={"Content-Type": CONTENT_TYPE})


class _Namespace(Collector):
    """The gauges of one sample."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        yield from _of_queues(self._sample)
        yield from _of_farm(self._sample)
        yield from _of_readers(self._sample)


def _of_queues(sample: Sample) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "everfold_jobs", "Jobs that wait, and that runners hold.", labels=("queue", "state")
    )
    oldest = GaugeMetricFamily(
        "everfold_queue_oldest_seconds",
        "Age of the oldest of the jobs that stand first.",
        labels=("queue",),
    )
    paused = GaugeMetricFamily("everfold_queue_paused", "1: it is paused.", labels=("queue",))
    runners = GaugeMetricFamily("everfold_queue_runners", "Runners that serve.", labels=("queue",))
    shown, others = sample.queues[:LABELS_LIMIT], sample.queues[LABELS_LIMIT:]
    for one in (*shown, *_together(others)):
        jobs.add_metric((one.name, "waiting"), one.waiting)
        jobs.add_metric((one.name, "leased"), one.running)
        oldest.add_metric((one.name,), one.oldest_s)
        paused.add_metric((one.name,), bool(one.paused_by))
        runners.add_metric((one.name,), len(one.runners))
    yield from (jobs, oldest, paused, runners)
    yield GaugeMetricFamily("everfold_jobs_later", "Jobs that wait for a time.", sample.later)


def _together(queues: Sequence[QueueStatus]) -> Iterator[QueueStatus]:
    if queues:
        yield QueueStatus(
            name=OTHERS,
            waiting=sum(one.waiting for one in queues),
            running=sum(one.running for one in queues),
            runners=tuple({name for one in queues for name in one.runners}),
            oldest_s=max(one.oldest_s for one in queues),
        )


def _of_farm(sample: Sample) -> Iterator[Metric]:
    labels = ("backend",)
    up = GaugeMetricFamily("everfold_backend_up", "1: reached, and takes jobs.", labels=labels)
    slots = GaugeMetricFamily("everfold_backend_slots", "Jobs a runner gives it.", labels=labels)
    busy = GaugeMetricFamily("everfold_backend_busy", "Prompts that run or wait.", labels=labels)
    named = {one.title or one.name: one for one in sample.backends}
    for name, one in [*named.items()][:LABELS_LIMIT]:
        is_up = one.unseen_s < UNSEEN_S and not (one.why or one.retired_by or one.drained_by)
        up.add_metric((name,), is_up)
        slots.add_metric((name,), one.slots)
        busy.add_metric((name,), one.busy)
    yield from (up, slots, busy)
    living = sum(one.unseen_s < UNSEEN_S for one in sample.runners)
    yield GaugeMetricFamily("everfold_runners", "Runners that were heard of lately.", living)


def _of_readers(sample: Sample) -> Iterator[Metric]:
    labels = ("partition",)
    events = GaugeMetricFamily("everfold_projector_lag_events", "Not folded yet.", labels=labels)
    age = GaugeMetricFamily("everfold_projector_lag_seconds", "Oldest of them.", labels=labels)
    for one in sample.lags[:LABELS_LIMIT]:
        events.add_metric((str(one.partition),), one.lag_events)
        age.add_metric((str(one.partition),), one.lag_s)
    yield from (events, age)
    parked = sum(one.parked for one in sample.lags)
    yield GaugeMetricFamily("everfold_parked_jobs", "Jobs that cannot be folded.", parked)
    labels = ("subscription",)
    lag = GaugeMetricFamily("everfold_subscription_lag_events", "Not delivered.", labels=labels)
    late = GaugeMetricFamily("everfold_subscription_lag_seconds", "Oldest of them.", labels=labels)
    held = GaugeMetricFamily("everfold_subscription_parked_jobs", "Need a person.", labels=labels)
    for row in sample.subscriptions:
        lag.add_metric((row.subscription,), row.behind_events)
        late.add_metric((row.subscription,), row.behind_s)
        held.add_metric((row.subscription,), row.parked)
    yield from (lag, late, held)


METRICS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/metrics", answer=metrics, name="metrics", role="reader",
        summary="Return numbers of the namespace and of this gateway, for Prometheus.",
        answers={200: "text/plain"},
    ),
)  # fmt: skip
