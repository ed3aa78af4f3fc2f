"""What was done in the last hour or day, for charts."""

from __future__ import annotations

from typing import cast

from msgspec import Struct
from starlette.responses import Response

from everfold.web.bodies import json_answer
from everfold.web.farm.charts.chart_fold import ChartRow
from everfold.web.farm.charts.charts import SPANS, Range
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.query import Query

RANGE = Parameter(
    name="range", choices=tuple(SPANS), told="The last hour by minutes: 1h; or the last day, 24h."
)


class ChartRows(Struct, frozen=True, kw_only=True):
    """What was done, by minutes or by quarters of an hour, the oldest first."""

    range: str
    step_s: int
    is_complete: bool
    """False while the gateway still reads the log for the first time."""
    rows: list[ChartRow]


async def get_charts(call: Call) -> Response:
    """Return what was done lately."""
    check_sees_all(call.caller)
    span = cast("Range", Query(call.request, (RANGE,)).text("range") or "1h")
    rows, is_complete = await call.gateway.charts.rows(span)
    step_s = 60 * SPANS[span][1]
    return json_answer(ChartRows(range=span, step_s=step_s, is_complete=is_complete, rows=rows))


CHARTS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/charts", answer=get_charts, name="get_charts", role="reader",
        parameters=(RANGE,), answers={200: ChartRows},
        summary="Return what was submitted and ended, and how long jobs waited and ran.",
    ),
)  # fmt: skip
