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
from benchmarks.measuring.processes import BenchProcesses, Process, bench_processes
from benchmarks.measuring.server import bench_server
from benchmarks.runners.farm import memory_bytes
from everfold import Everfold
from everfold.projector.reading.lag import lag

if TYPE_CHECKING:
    from playwright.async_api import Page

NAMESPACE = "console"
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
AT_ONCE = 500
"""Jobs that are submitted with one call."""
CANCELS = 100
"""Events whose paint is awaited, each at rest and under load."""
EVERY_S = 0.15
MIB = 2**20

FIRST_PAINT = """() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"""

NOTE_ARRIVALS = """() => {
    const hear = EventSource.prototype.addEventListener
    window.arrived = {}
    EventSource.prototype.addEventListener = function (kind, listener) {
        return hear.call(this, kind, kind !== 'jobs' ? listener : (event) => {
            if (event.data.includes('"canceled"'))
                for (const [, id] of event.data.matchAll(/"job_id":"([^"]+)","status":"canceled"/g))
                    window.arrived[id] ??= Date.now()
            listener(event)
        })
    }
}"""

# A frame that is asked for after a change shows it; what is set off by that frame comes after it.
NOTE_PAINTS = """() => {
    const due = new Set()
    window.painted = {}
    const look = () => {
        const found = []
        for (const id of Object.keys(window.arrived)) {
            if (due.has(id) || !document.querySelector(
                `tbody tr:has([title="${id}"]) .status.canceled`)) continue
            due.add(id)
            found.push(id)
        }
        if (found.length) requestAnimationFrame(() => setTimeout(() => {
            for (const id of found) window.painted[id] = Date.now()
        }))
    }
    new MutationObserver(look).observe(document.querySelector('main'),
        {subtree: true, childList: true, attributes: true, characterData: true})
}"""


class ConsoleFigures(Struct, frozen=True):
    jobs: int
    paint_ms: dict[str, list[float]]
    """Screen -> first contentful paint, of each opening."""
    rows_ms: list[float]
    """From the start of the navigation until the rows of the list of jobs stood."""
    arrival: Percentiles
    """From before the call that cancels a job until the tab has been told."""
    event: Percentiles
    """The same until the row of the page was painted."""
    arrival_under_load: Percentiles
    event_under_load: Percentiles
    events_per_s: float
    """Of the load, as it was reached."""
    minutes: float
    memory_mib: list[float]
    """Of the tab's script after each tenth of that time, garbage collected."""
    gateway_mib: list[float]
    """Of the gateway's process at the same times."""
    lost: int
    """How often the page has said that it is disconnected."""


async def measure_console(jobs: int, repeat: int, minutes: float) -> ConsoleFigures:
    async with bench_server() as (url, folder), Everfold.connect(url, namespace=NAMESPACE) as ours:
        with bench_processes(folder, url, NAMESPACE) as processes:
            gateway = await _begin(processes, ours, jobs)
            base = gateway.first_line.split()[-1]
            async with _tab() as page:
                paint, rows = await _open(page, base, repeat)
                rest = await _latencies(ours, page, base)
                load = processes.console_load()
                loaded = await _latencies(ours, page, base)
                await _see_board(page, base)
                memory = await _memory(page, gateway.child.pid, minutes)
                rate = float(load.finish())
                lost = cast("int", await page.evaluate("() => window.lost"))
    return ConsoleFigures(jobs, paint, rows, *rest, *loaded, rate, minutes, *memory, lost)


async def _begin(processes: BenchProcesses, ours: Everfold, jobs: int) -> Process:
    processes.projector()
    gateway = processes.gateway()
    for first in range(0, jobs, AT_ONCE):
        some = [GRAPH] * min(AT_ONCE, jobs - first)
        await ours.submit_many(some, user="ada", kind="portrait", validate=False)
    with anyio.fail_after(120):
        while True:
            await anyio.sleep(0.2)
            if not any(one.lag_events for one in await lag(ours.log)):
                break
    return gateway


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
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.add_init_script(f"({NOTE_ARRIVALS})()")
        yield page
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
    await page.goto(f"{base}/console/jobs?user=ada&status=queued")
    await page.locator("tbody tr .id").first.wait_for()
    await page.evaluate(NOTE_PAINTS)
    script = "() => [...document.querySelectorAll('tbody .id')].map((one) => one.title)"
    return cast("list[str]", await page.evaluate(script))


async def _see_board(page: Page, base: str) -> None:
    """Open what changes most, and count from then on how often it is disconnected."""
    await page.goto(f"{base}/console/")
    await page.locator("tbody tr").first.wait_for()
    script = """() => { window.lost = 0
        new MutationObserver(() => window.lost += !!document.querySelector('.connection.lost'))
            .observe(document.querySelector('.connection'), {attributes: true}) }"""
    await page.evaluate(script)


async def _latencies(ours: Everfold, page: Page, base: str) -> tuple[Percentiles, Percentiles]:
    """Return the seconds from a cancel until the tab was told, and until it was painted."""
    arrivals, paints = list[float](), list[float]()
    while len(paints) < CANCELS:
        begun = {}
        for job_id in await _shown(page, base):
            begun[job_id] = time.time()
            await ours.cancel(job_id)
            await anyio.sleep(EVERY_S)
        await page.wait_for_function(
            "(ids) => ids.every((id) => window.painted[id])", arg=[*begun], timeout=60_000
        )
        for found, name in ((arrivals, "arrived"), (paints, "painted")):
            at_ms = cast("dict[str, float]", await page.evaluate(f"() => window.{name}"))
            found += [at_ms[job_id] / 1000 - at for job_id, at in begun.items()]
    return percentiles(arrivals), percentiles(paints)


async def _memory(page: Page, gateway: int, minutes: float) -> tuple[list[float], list[float]]:
    session = await page.context.new_cdp_session(page)
    tab, process = list[float](), list[float]()
    for part in range(11):
        if part:
            await anyio.sleep(minutes * 6)
        await session.send("HeapProfiler.collectGarbage")
        told = await session.send("Runtime.getHeapUsage")
        tab.append(round(told["usedSize"] / MIB, 2))
        process.append(round(memory_bytes(gateway, "VmRSS") / MIB, 1))
    return tab, process


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
            f"from event to tab:                            {found.arrival}",
            f"from event to paint, target p99 0.25 s:       {found.event}",
            f"from event to tab at {found.events_per_s:,.0f} events/s:    "
            f"{found.arrival_under_load}",
            f"from event to paint at that load:             {found.event_under_load}",
            f"the board over {found.minutes:g} min at that load, MiB: the tab's script "
            + ", ".join(map(str, found.memory_mib))
            + "; the gateway "
            + ", ".join(map(str, found.gateway_mib)),
            f"disconnected {found.lost} times",
        )
    )
