"""Numbers for Prometheus: of the namespace, and of this gateway's own process.

Rule: gauges of the namespace are the same at each gateway; take them from one.
"""

from __future__ import annotations

from starlette.responses import Response

from everfold.metrics.exposition import CONTENT_TYPE, exposition
from everfold.metrics.namespace_source import NamespaceSource
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import check_sees_all
from everfold.web.query import Query


async def metrics(call: Call) -> Response:
    """Return the metrics as text of Prometheus."""
    check_sees_all(call.caller)
    Query(call.request, ())
    shown = await NamespaceSource(call.gateway.sampled)()
    own = call.gateway.counters.registry.collect()
    body = exposition((*shown, *own))
    return Response(body, headers={"Content-Type": CONTENT_TYPE})


METRICS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/metrics", answer=metrics, name="metrics", role="reader",
        summary="Return numbers of the namespace and of this gateway, for Prometheus.",
        answers={200: "text/plain"},
    ),
)  # fmt: skip
