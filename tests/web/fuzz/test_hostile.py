"""Whatever is sent to a gateway is answered, soon, in its contract's words, and leaves nothing.

In the suite a short form; `make fuzz` sends more.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest

from everfold import Everfold
from everfold.streams.redis.redis_errors import command
from everfold.web.farm import farm_feed
from tests.fuzz.cases import EXAMPLES, FEW
from tests.support.wait import eventually
from tests.web.fuzz.hostile import PATHS, Hostile
from tests.web.fuzz.wire import WireAnswer, send
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(0)]

REQUESTS = 1_000 if EXAMPLES <= FEW else EXAMPLES // 5
AT_ONCE = 8
SEED = int(os.environ.get("EVERFOLD_FUZZ_SEED") or 1)

TOLD = {row.name: row.answers for row, _ in PATHS}
"""A refusal that a row itself names has the row's own form."""

MAY_GROW_BYTES = 150 * 1024 * 1024


async def bombard(
    site: Site, make: Hostile, count: int, *, only_reads: bool = False
) -> list[WireAnswer]:
    """Send so many requests, a few at a time; return what is wrong with an answer."""
    left = iter(range(count))
    wrong = list[WireAnswer]()
    statuses = Counter[int]()

    async def work() -> None:
        for _ in left:
            answer = await send(site.url, make.request(only_reads=only_reads))
            statuses[answer.status] += 1
            if complaint(answer):
                wrong.append(answer)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())
    print(f"{count} requests: {dict(sorted(statuses.items()))}")
    return wrong


def complaint(answer: WireAnswer) -> str:
    """Return what is wrong with an answer, empty for nothing."""
    if answer.status < 0:
        return "no answer in time"
    if answer.status >= 500:
        return "a failure"
    if answer.status in TOLD.get(answer.request.row, ()):
        return ""
    if answer.status >= 400 and "application/json" in answer.head.lower() and answer.body:
        try:
            told = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            return "no JSON"
        message = told.get("error", {}).get("message", "") if isinstance(told, dict) else ""
        if not (isinstance(message, str) and len(message) > 8):
            return "no sentence"
        if re.search(r"Traceback|File \"|/everfold/|0x[0-9a-f]{6}", message):
            return "an error of the program"
    return ""


async def keys_of(everfold: Everfold) -> int:
    """Return how many keys the namespace has."""
    found, cursor = set[bytes](), b"0"
    while True:
        asked = ("SCAN", cursor, "MATCH", f"*{everfold.log.keys.namespace}*", "COUNT", 1_000)
        reply = cast("tuple[bytes, list[bytes]]", await command(everfold.log.redis, *asked))
        cursor = reply[0]
        found.update(reply[1])
        if cursor == b"0":
            return len(found)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_hostile_requests_are_answered_and_leave_nothing(
    site: Site, everfold: Everfold, known: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm_feed, "UNWATCHED_S", 1.0)
    make = Hostile(SEED, known, site.url.removeprefix("http://"))
    wrong = await bombard(site, make, 200)
    tasks, files, used = len(asyncio.all_tasks()), open_files(), resident_bytes()

    wrong += await bombard(site, make, REQUESTS)

    assert not wrong, "\n".join(f"{complaint(one)}: {one}" for one in wrong[:20])
    await quiet(lambda: len(asyncio.all_tasks()) <= tasks + 5)
    await quiet(lambda: open_files() <= files + 20)
    await quiet(lambda: len(site.gateway.streams) == 0)
    assert site.gateway.feeds.watched == 0
    assert resident_bytes() - used < MAY_GROW_BYTES


async def test_reading_makes_no_keys(site: Site, everfold: Everfold, known: list[str]) -> None:
    make = Hostile(SEED + 1, known, site.url.removeprefix("http://"))
    await bombard(site, make, 300, only_reads=True)
    before = await keys_of(everfold)

    wrong = await bombard(site, make, REQUESTS // 3, only_reads=True)

    assert not wrong, "\n".join(f"{complaint(one)}: {one}" for one in wrong[:20])
    assert await keys_of(everfold) <= before + 5


async def quiet(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until what the last requests began has ended."""
    await eventually(condition, 40)
