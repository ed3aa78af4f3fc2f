"""What was done lately: the fold of minutes, and the route."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from everfold.streams.events.event import Claimed, Event, Failed, Failure, Started, Succeeded
from everfold.streams.events.record import Recorded
from everfold.web.farm.charts import chart_fold
from everfold.web.farm.charts.chart_fold import MINUTE_MS, ChartFold
from tests.support.programs.stack import Stack, sleeper
from tests.web.farm.page import looking
from tests.web.farm.test_farm_state import submitted
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio

CHARTS = "/everfold/v1/charts"


def noted(fold: ChartFold, job_id: str, *events: tuple[int, Event]) -> None:
    for seq, (time_ms, event) in enumerate(events, 1):
        fold.note(Recorded(f"{time_ms}-0", job_id, seq, 1, "0-0", event, b"{}"))


def test_minutes_have_what_was_done_in_them() -> None:
    fold, at_ms = ChartFold(), 100 * MINUTE_MS
    ended = Succeeded(attempt=1, outputs={})
    for number, wait_ms in enumerate((1000, 2000, 9000)):
        noted(
            fold, f"job-{number}", (at_ms, submitted()), (at_ms + wait_ms, Claimed(owner="r")),
            (at_ms + wait_ms, Started(attempt=1)), (at_ms + MINUTE_MS, ended),
        )  # fmt: skip
    failure = Failure(code="x", message="y")
    noted(fold, "other", (at_ms, submitted()), (at_ms + 1, Failed(failure=failure)))

    before, last = fold.rows(at_ms + MINUTE_MS, 2, 1)
    assert (before.submitted, before.failed, before.succeeded) == (4, 1, 0)
    assert (before.wait_p50_s, before.wait_p95_s, before.run_p50_s) == (2.0, 9.0, None)
    assert (last.succeeded, last.run_p50_s, last.wait_p50_s) == (3, 58.0, None)
    quarter = fold.rows(at_ms + MINUTE_MS, 1, 15)[0]
    assert (quarter.at_ms, quarter.submitted, quarter.succeeded) == (90 * MINUTE_MS, 4, 3)


def test_it_keeps_a_day_and_a_bounded_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_fold, "OPEN_LIMIT", 10)
    fold = ChartFold()
    for number in range(2_000):
        noted(fold, f"job-{number}", (number * MINUTE_MS, submitted()))

    assert len(fold._minutes) == chart_fold.DAY_MINUTES + 1
    assert len(fold._open) == 10


async def test_the_gateway_reads_the_log_and_goes_on(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    job_id = await stack.submit(0.2)
    await stack.until(job_id, "succeeded")
    first = (await client.get(CHARTS)).json()
    async with looking(client) as page:
        await page.until(lambda: page.farm.get("recent"))
        later = (await everfold.submit(sleeper(1))).job_id
        await page.until(lambda: later in page.jobs)
    day = (await client.get(f"{CHARTS}?range=24h")).json()

    assert (first["step_s"], len(first["rows"]), first["is_complete"]) == (60, 60, True)
    assert sum(row["succeeded"] for row in first["rows"]) == 1
    assert [row["wait_p50_s"] is not None for row in first["rows"]].count(True) == 1
    assert (day["step_s"], len(day["rows"])) == (900, 96)
    assert sum(row["submitted"] for row in day["rows"]) == 2
    recent = page.farm["recent"]
    assert isinstance(recent, dict)
    assert len(recent["hour"]) == 60


async def test_they_are_for_those_who_see_all(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    _, headers = await signed(client, everfold, user="ada")

    assert (await client.get(CHARTS, headers=headers)).status_code == 403
