"""What the console costs a browser: first paint, from event to paint, and memory of a live tab.

Needs Chromium and playwright, as `make browser` installs them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import TYPE_CHECKING, cast

import anyio
from msgspec import Struct

from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.processes import BenchProcesses, bench_processes
from benchmarks.measuring.server import bench_server
from everfold import Everfold
from everfold.projector.reading.lag import lag

if TYPE_CHECKING:
    from playwright.async_api import Page

NAMESPACE = "console"
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
AT_ONCE = 64
MIB = 2**20

FIRST_PAINT = """() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"""

NOTE_PAINTS = """() => {
    window.painted = {}
    const look = () => document.querySelectorAll('tbody tr').forEach((row) => {
        const id = row.querySelector('.id')?.title
        if (id && row.querySelector('.status.canceled')) window.painted[id] ??= Date.now()
    })
    new MutationObserver(() => requestAnimationFrame(() => setTimeout(look)))
        .observe(document.querySelector('main'), {subtree: true, childList: true,
            attributes: true, characterData: true})
}"""


class ConsoleFigures(Struct, frozen=True):
    jobs: int
    paint_ms: dict[str, list[float]]
    """Screen -> first contentful paint, of each opening."""
    rows_ms: list[float]
    """From the start of the navigation until the rows of the list of jobs stood."""
    event: Percentiles
    """From before the call that cancels a job until the row of the page was painted."""
    event_under_load: Percentiles
    events_per_s: float
    """Of the load, as it was reached."""
    minutes: float
    memory_mib: list[float]
    """Of the tab's script after each tenth of that time, garbage collected."""
    lost: int
    """How often the page has said that it is disconnected."""


async def measure_console(jobs: int, repeat: int, minutes: float) -> ConsoleFigures:
    async with bench_server() as (url, folder), Everfold.connect(url, namespace=NAMESPACE) as ours:
        with bench_processes(folder, url, NAMESPACE) as processes:
            base = await _begin(processes, ours, jobs)
            async with _tab() as page:
                paint, rows = await _open(page, base, repeat)
                shown = await _shown(page, base)
                event = percentiles(await _latencies(ours, page, shown[:25]))
                load = processes.console_load()
                memory = await _memory(page, minutes)
                loaded = percentiles(await _latencies(ours, page, shown[25:]))
                rate = float(load.finish())
                lost = cast("int", await page.evaluate("() => window.lost"))
    return ConsoleFigures(jobs, paint, rows, event, loaded, rate, minutes, memory, lost)


async def _begin(processes: BenchProcesses, ours: Everfold, jobs: int) -> str:
    processes.projector()
    gateway = processes.gateway()
    limit = anyio.CapacityLimiter(AT_ONCE)
    async with anyio.create_task_group() as tasks:
        for _ in range(jobs):
            tasks.start_soon(_submit, ours, limit)
    with anyio.fail_after(120):
        while True:
            await anyio.sleep(0.2)
            if not any(one.lag_events for one in await lag(ours.log)):
                break
    return gateway.first_line.split()[-1]


async def _submit(ours: Everfold, limit: anyio.CapacityLimiter) -> None:
    async with limit:
        await ours.submit(GRAPH, user="ada", kind="portrait", validate=False)


@contextlib.asynccontextmanager
async def _tab() -> AsyncIterator[Page]:
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise SystemExit(
            "console: there is no playwright here; `make browser` installs it"
        ) from None
    found = os.environ.get("EVERFOLD_CHROMIUM") or shutil.which("chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=arguments)
        yield await browser.new_page(viewport={"width": 1440, "height": 900})
        await browser.close()


async def _open(page: Page, base: str, repeat: int) -> tuple[dict[str, list[float]], list[float]]:
    paint: dict[str, list[float]] = {"board": [], "jobs": []}
    rows = list[float]()
    for turn in range(repeat + 1):
        for screen, path in (("board", ""), ("jobs", "jobs")):
            await page.goto(f"{base}/console/{path}")
            await page.locator("tbody tr").first.wait_for()
            now = cast("float", await page.evaluate("() => performance.now()"))
            if turn:
                paint[screen].append(round(await page.evaluate(FIRST_PAINT)))
                if screen == "jobs":
                    rows.append(round(now))
    return paint, rows


async def _shown(page: Page, base: str) -> list[str]:
    """Return the ids of the jobs on the first page of the list, which stays open."""
    await page.goto(f"{base}/console/jobs")
    await page.locator("tbody tr .id").first.wait_for()
    await page.evaluate(NOTE_PAINTS)
    script = """() => { window.lost = 0
        new MutationObserver(() => window.lost += !!document.querySelector('.connection.lost'))
            .observe(document.querySelector('.connection'), {attributes: true})
        return [...document.querySelectorAll('tbody .id')].map((one) => one.title) }"""
    return cast("list[str]", await page.evaluate(script))


async def _latencies(ours: Everfold, page: Page, job_ids: list[str]) -> list[float]:
    begun = {}
    for job_id in job_ids:
        begun[job_id] = time.time()
        await ours.cancel(job_id)
        await anyio.sleep(0.15)
    await page.wait_for_function(
        "(ids) => ids.every((id) => window.painted[id])", arg=job_ids, timeout=60_000
    )
    painted = cast("dict[str, float]", await page.evaluate("() => window.painted"))
    return [painted[job_id] / 1000 - at for job_id, at in begun.items()]


async def _memory(page: Page, minutes: float) -> list[float]:
    session = await page.context.new_cdp_session(page)
    found = list[float]()
    for part in range(11):
        if part:
            await anyio.sleep(minutes * 6)
        await session.send("HeapProfiler.collectGarbage")
        told = await session.send("Runtime.getHeapUsage")
        found.append(round(told["usedSize"] / MIB, 2))
    return found


def report(found: ConsoleFigures) -> str:
    paint = "\n".join(
        f"{screen}: first paint {median(each):.0f} ms (of {len(each)}; most {max(each):.0f} ms"
        "; target 1,000 ms)"
        for screen, each in found.paint_ms.items()
    )
    return "\n".join(
        (
            f"{found.jobs:,} jobs in the namespace",
            paint,
            f"the list of jobs stands after {median(found.rows_ms):.0f} ms",
            f"from event to paint, target p99 0.25 s:      {found.event}",
            f"the same at {found.events_per_s:,.0f} events/s: {found.event_under_load}",
            f"memory of the tab's script over {found.minutes:g} min at that load, MiB: "
            + ", ".join(map(str, found.memory_mib)),
            f"disconnected {found.lost} times",
        )
    )
