"""Processes that are watched, and what a scrape of one shows."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.programs.programs import Program
from tests.support.programs.stack import Stack


class Watched:
    """A process of Everfold that answers scrapes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.url = ""

    async def text(self) -> str:
        """Scrape it."""
        self.url = self.url or (await self.program.line("/metrics", within_s=20)).split()[-1]
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(self.url)
        assert answer.status_code == 200
        return answer.text

    async def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels, 0 where there are none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(await self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def names(self) -> set[str]:
        """Return the names of all its samples."""
        families = text_string_to_metric_families(await self.text())
        return {sample.name for family in families for sample in family.samples}


async def watched(stack: Stack, *arguments: str) -> Watched:
    """Start `everfold` with these arguments on a stack's namespace, and wait until it answers."""
    command = ("-m", "everfold", *arguments, "--metrics-port", "0")
    made = Watched(stack.start(*command, environ=stack.names))
    await made.text()
    return made
