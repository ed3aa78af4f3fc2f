"""Reads the stream of the farm as a page does: its members put together, and all messages kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import msgspec
from msgspec import Struct

WITHIN_S = 20.0
STREAM = "/everfold/v1/farm/stream"


class Told(Struct, frozen=True):
    """One message."""

    event: str
    id: str
    data: object


class Page:
    """What a page knows."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.farm: dict[str, object] = {}
        self.jobs: dict[str, dict[str, object]] = {}
        self.told: list[Told] = []
        self.last_id = ""

    async def next(self) -> Told:
        fields: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    return self._take(fields)
                else:
                    fields = {}
        raise AssertionError("the stream has ended")

    def _take(self, fields: Mapping[str, str]) -> Told:
        data = msgspec.json.decode(fields["data"])
        found = Told(fields["event"], fields.get("id", self.last_id), data)
        self.told.append(found)
        self.last_id = found.id
        if found.event == "farm":
            assert isinstance(found.data, dict)
            self.farm |= found.data
        if found.event == "jobs":
            assert isinstance(found.data, list)
            self.jobs |= {job["job_id"]: job for job in found.data}
        return found

    async def until(self, is_there: Callable[[], object]) -> None:
        """Read until a condition holds."""
        async with asyncio.timeout(WITHIN_S):
            while not is_there():
                await self.next()

    def of(self, event: str) -> list[object]:
        """Return the data of all messages of a kind."""
        return [one.data for one in self.told if one.event == event]

    def member(self, name: str) -> list[dict[str, object]]:
        """Return a member of the farm that is a list."""
        found = self.farm.get(name)
        assert isinstance(found, list), name
        return found


@contextlib.asynccontextmanager
async def looking(
    client: httpx.AsyncClient,
    query: str = "",
    last_id: str = "",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Page]:
    """Open the stream, and yield the page once it has the farm."""
    sent = {**(headers or {}), **({"Last-Event-ID": last_id} if last_id else {})}
    async with client.stream("GET", STREAM + query, headers=sent, timeout=WITHIN_S) as answer:
        assert answer.status_code == 200, await answer.aread()
        page = Page(answer.aiter_lines())
        await page.until(lambda: page.farm)
        yield page
