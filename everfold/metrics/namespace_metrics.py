"""One sample of a namespace as metrics: the same from each process that shows them.

Rule: a label has at most LABELS_LIMIT values, what is beyond stands under OTHERS together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from everfold.metrics.queue_numbers import UNSEEN_S, QueueNumbers, is_up
from everfold.metrics.sampled import Sample
from everfold.operations import BackendStatus
from everfold.streams.leases.backends import SAME_TIME_S
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.telemetry.measures import LABELS_LIMIT, OTHERS


def namespace_metrics(sample: Sample) -> Iterator[Metric]:
    """Yield the metrics of a sample."""
    yield from _of_queues(sample)
    yield from _of_farm(sample)
    yield from _of_readers(sample)


def _of_queues(sample: Sample) -> Iterator[Metric]:
    shown = [*sample.queues.by_name.values()]
    own, others = shown[:LABELS_LIMIT], shown[LABELS_LIMIT:]
    yield _jobs(sample, {one.name for one in own})
    labels = ("queue",)
    oldest = GaugeMetricFamily(
        "everfold_queue_oldest_seconds", "Age of the oldest of the jobs that stand first.",
        labels=labels,
    )  # fmt: skip
    paused = GaugeMetricFamily("everfold_queue_paused", "1: it is paused.", labels=labels)
    runners = GaugeMetricFamily("everfold_queue_runners", "Runners that serve it.", labels=labels)
    servers = GaugeMetricFamily(
        "everfold_queue_servers", "Backends that take its jobs now.", labels=labels
    )
    backlog = GaugeMetricFamily(
        "everfold_backlog_seconds",
        "Time until the jobs that wait have begun: what such jobs took, over the servers of now.",
        labels=labels,
    )
    for one in own:
        oldest.add_metric((one.name,), one.oldest_s)
        paused.add_metric((one.name,), one.is_paused)
        runners.add_metric((one.name,), len(one.runners))
        servers.add_metric((one.name,), one.servers)
        if (backlog_s := one.backlog_s) is not None:
            backlog.add_metric((one.name,), backlog_s)
    if others:
        oldest.add_metric((OTHERS,), max(one.oldest_s for one in others))
    yield from (oldest, paused, runners, servers, backlog)
    yield GaugeMetricFamily("everfold_queues", "Queues that there are.", sample.queues.count)


def _jobs(sample: Sample, own: set[str]) -> Metric:
    counts = defaultdict[tuple[str, str, str], int](int)
    for one in sample.queues.by_name.values():
        name = one.name if one.name in own else OTHERS
        for state, numbers in _states(one):
            for priority, number in zip(PRIORITIES, numbers, strict=True):
                counts[name, priority, state] += number
    for (queue, priority), number in sample.later.items():
        name = queue if queue in own else OTHERS
        counts[name, priority if priority in PRIORITIES else OTHERS, "later"] += number
    if sample.later_besides:
        counts[OTHERS, OTHERS, "later"] += sample.later_besides
    family = GaugeMetricFamily(
        "everfold_jobs",
        "Open jobs: those that wait, that runners hold, and that wait for a time.",
        labels=("queue", "priority", "state"),
    )
    for labels, number in counts.items():
        family.add_metric(labels, number)
    return family


def _states(one: QueueNumbers) -> Iterable[tuple[str, tuple[int, ...]]]:
    return (("waiting", one.waiting), ("leased", one.leased))


def _of_farm(sample: Sample) -> Iterator[Metric]:
    """Yield what is told of servers, runners and files. Servers of one name count together: each
    host has one at 127.0.0.1:8188."""
    labels = ("backend",)
    up = GaugeMetricFamily("everfold_backend_up", "1: reached, and takes jobs.", labels=labels)
    slots = GaugeMetricFamily("everfold_backend_slots", "Jobs a runner gives it.", labels=labels)
    busy = GaugeMetricFamily("everfold_backend_busy", "Prompts that run or wait.", labels=labels)
    named = defaultdict[str, list[BackendStatus]](list)
    for one in sample.backends:
        named[one.title or one.name].append(one)
    for name, found in [*named.items()][:LABELS_LIMIT]:
        newest_s = min(one.unseen_s for one in found)
        present = [one for one in found if one.unseen_s - newest_s <= SAME_TIME_S]
        reached = [one for one in present if one.unseen_s < UNSEEN_S]
        up.add_metric((name,), all(map(is_up, present)))
        slots.add_metric((name,), sum(one.slots for one in reached))
        busy.add_metric((name,), sum(one.busy for one in reached))
    yield from (up, slots, busy)
    living = sum(one.unseen_s < UNSEEN_S for one in sample.runners)
    yield GaugeMetricFamily("everfold_runners", "Runners that were heard of lately.", living)
    yield GaugeMetricFamily(
        "everfold_assets_bytes", "Bytes of the stored files of all users.", sample.assets_bytes
    )


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
