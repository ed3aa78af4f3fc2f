"""Archives the graphs that jobs use, some in each trip; each is one file, named by its content.

Rule: a graph that was archived in this run is not looked at again: many jobs use the same one.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import cast

import anyio.to_thread

from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import GRAPHS_AT_ONCE, Archive
from everfold.streams.archive.manifest import workflow_name
from everfold.streams.events.limits import READ_LIMIT_BYTES
from everfold.streams.redis.redis_errors import commands

REMEMBERED = 100_000
"""Graphs of which is known that they are archived."""


class GraphArchiver:
    """Archives the graphs of one log for one run of its archiver."""

    def __init__(self, log: Log, archive: Archive) -> None:
        self._log, self._archive = log, archive
        self._archived = set[str]()

    async def archive(self, partition: int, hashes: Sequence[str]) -> list[str]:
        """Archive those of a partition's graphs that are there; return the SHA-256 of all that are
        in the archive now. Raises ArchiveDamaged, or a leaf of Unavailable."""
        if len(self._archived) > REMEMBERED:
            self._archived.clear()
        found = {sha256 for sha256 in hashes if sha256 in self._archived}
        unknown = [sha256 for sha256 in hashes if sha256 not in found]
        for start in range(0, len(unknown), GRAPHS_AT_ONCE):
            found |= await self._archive_some(partition, unknown[start : start + GRAPHS_AT_ONCE])
        self._archived |= found
        return [sha256 for sha256 in hashes if sha256 in found]

    async def _archive_some(self, partition: int, hashes: Sequence[str]) -> set[str]:
        """Archive those that are there; return which are in the archive now."""
        asked = [("GET", self._log.keys.workflow(partition, sha256)) for sha256 in hashes]
        # As large as an answer may be: each is asked for by itself, for nobody knows its size.
        sizes = [READ_LIMIT_BYTES] * len(asked)
        answers = cast("list[bytes | None]", await commands(self._log.redis, asked, sizes))
        pairs = zip(hashes, answers, strict=True)
        graphs = {sha256: graph for sha256, graph in pairs if graph is not None}
        if graphs:
            await self._archive.store.create_all(await anyio.to_thread.run_sync(_files, graphs))
        others = [sha256 for sha256 in hashes if sha256 not in graphs]
        kept = [sha256 async for sha256, graph in self._archive.workflows(others) if graph]
        return {*graphs, *kept}


def _files(graphs: Mapping[str, bytes]) -> dict[str, bytes]:
    return {workflow_name(one): gzip.compress(graph, mtime=0) for one, graph in graphs.items()}
