"""What one gateway counts of its own work.

Rule: a label has few values: names of routes, classes of statuses, kinds of streams. Never a path,
a user or a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REACHED = "everfold.reached"
"""Where a request's scope has the names of the routes that it has reached."""
UNMATCHED = "(none)"
"""The route of a request that no route fits."""


class Counters:
    """The counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "everfold_gateway_requests",
            "Requests that were answered, by route and class of status.",
            ("route", "status"),
            registry=self.registry,
        )
        self._streams = Gauge(
            "everfold_gateway_streams",
            "Connections on which events are sent as they happen.",
            ("kind",),
            registry=self.registry,
        )
        self._sent = dict[str, int]()
        self.registry.register(_Messages(self._sent))
        self._dropped = Counter(
            "everfold_gateway_dropped_readers",
            "Such connections that were closed because their reader was too slow.",
            ("kind",),
            registry=self.registry,
        )

    def note_request(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, f"{status // 100}xx").inc()

    def note_opened(self, kind: str) -> None:
        """Count a stream that begins; `kind` is sse or websocket."""
        self._streams.labels(kind).inc()

    def note_closed(self, kind: str) -> None:
        """Count a stream that has ended."""
        self._streams.labels(kind).dec()

    def note_sent(self, kind: str, messages: int = 1) -> None:
        """Count messages."""
        self._sent[kind] = self._sent.get(kind, 0) + messages

    def note_dropped(self, kind: str) -> None:
        """Count a reader that was too slow."""
        self._dropped.labels(kind).inc()


class _Messages(Collector):
    """A counter that costs less than the library's: one is counted for each client of an event."""

    def __init__(self, sent: Mapping[str, int]) -> None:
        self._sent = sent

    def collect(self) -> Iterable[Metric]:
        made = CounterMetricFamily(
            "everfold_gateway_messages_sent", "Messages sent on such connections.", labels=("kind",)
        )
        for kind, messages in self._sent.items():
            made.add_metric((kind,), messages)
        yield made


def note_route(scope: Scope, name: str) -> None:
    """Note the route that a request has reached."""
    scope.get(REACHED, []).append(name)


class CountedRequests:
    """Counts the answers of an ASGI application by the route that made them."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app, self._counters = app, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note its status once it has one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        reached = list[str]()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = reached[-1] if reached else UNMATCHED
                self._counters.note_request(route, message["status"])
            await send(message)

        # What stands in between gives a scope of its own to what it admits.
        scope[REACHED] = reached
        await self._app(scope, receive, counted)
