"""The demo under the eyes of the console: it stays until a signal, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from everfold.demo.console import show_in_browser
from tests.everfold.demo.test_demo import processes_of
from tests.support.programs.programs import StartProgram

pytestmark = pytest.mark.anyio


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A browser that writes down what it is to show."""
    place = tmp_path / "browser"
    place.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    place.chmod(0o700)
    return place


@pytest.mark.long
async def test_the_console_shows_the_demo_until_it_is_ended(
    start_program: StartProgram, tmp_path: Path, browser: Path
) -> None:
    folder = tmp_path / "demo"
    call = ("-m", "everfold", "demo", "--console", "--json", "--folder", str(folder))
    demo = start_program(*call, environ={"BROWSER": f"{browser} %s"})
    address = json.loads(await demo.line('"console"', within_s=60))["console"]
    await demo.line('"ok"', within_s=120)
    async with httpx.AsyncClient(timeout=20) as client:
        page = await client.get(address)
        jobs = (await client.get(f"{address[:-8]}/everfold/v1/jobs?limit=100")).json()["jobs"]

    demo.send(signal.SIGINT)
    code = await demo.end(within_s=30)

    assert (page.status_code, "/console/console.js" in page.text) == (200, True)
    assert len(jobs) == 13
    assert (tmp_path / "shown").read_text().strip() == address
    summary = next(line for line in demo.lines if '"ok"' in line)
    assert (code, json.loads(summary)["ok"]) == (0, True), demo
    assert "Traceback" not in str(demo)
    assert processes_of(folder) == []


@pytest.mark.long
async def test_a_signal_in_the_middle_ends_all_of_it(
    start_program: StartProgram, tmp_path: Path
) -> None:
    environ = {"BROWSER": "/nothing/there %s", "DISPLAY": ""}
    call = ("-m", "everfold", "demo", "--console", "--folder", str(tmp_path))
    demo = start_program(*call, environ=environ)
    assert "http://127.0.0.1:" in await demo.line("the console is at", within_s=60)
    await demo.line("jobs submitted", within_s=60)
    demo.send(signal.SIGTERM)

    assert await demo.end(within_s=30) == 130, demo
    assert "Traceback" not in str(demo)
    assert processes_of(tmp_path) == []


async def test_two_ways_at_once_are_refused(start_program: StartProgram, tmp_path: Path) -> None:
    call = ("-m", "everfold", "demo", "--console", "--failover", "--folder", str(tmp_path))
    demo = start_program(*call)

    assert await demo.end(within_s=30) == 2, demo
    assert "leave one of them out" in str(demo)


async def test_without_a_window_no_browser_is_looked_for() -> None:
    assert not await show_in_browser("http://127.0.0.1:1/console", {"DISPLAY": ""})
