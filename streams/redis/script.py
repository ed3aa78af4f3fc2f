"""A Lua script of a package: put together from its pieces, sent, and its reply.

Scripts are addressed by their content (EVALSHA, EVAL after NOSCRIPT), so that two versions of
Everfold can work on one server during a rolling upgrade. A line `--- @include "name"` stands for
the piece `lua/include/name.lua`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from time import perf_counter
from typing import cast

from redis.asyncio import Redis

from everfold.streams.connections.connection import Argument
from everfold.streams.connections.replies import NoScript
from everfold.streams.errors import TooFewReplicas
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.replicas import NONE, Replicas, replicated
from everfold.streams.telemetry.measures import FAST_S, histogram

SCRIPT_S = histogram(
    "everfold_script_seconds",
    "Time from sending a script to its answer, by the script's name.",
    ("script",),
    bounds=FAST_S,
)

_INCLUDE = re.compile(r'^--- @include "(\w+)"$', re.MULTILINE)


def assemble(name: str, folders: Sequence[Traversable]) -> str:
    """Return the script `name` of the first folder, each piece that it includes in its place.

    A piece is looked up in `include` of each folder in turn; one that was included before is left
    out. Raises ValueError for a piece that is missing, or that includes itself.
    """
    included: set[str] = set()

    def filled(text: str, within: tuple[str, ...]) -> str:
        return _INCLUDE.sub(lambda line: piece(line[1], within), text)

    def piece(wanted: str, within: tuple[str, ...]) -> str:
        if wanted in within:
            raise ValueError(f"Lua pieces include each other: {', '.join((*within, wanted))}")
        if wanted in included:
            return ""
        included.add(wanted)
        found = [folder / "include" / f"{wanted}.lua" for folder in folders]
        text = next((file.read_text(encoding="utf-8") for file in found if file.is_file()), None)
        if text is None:
            raise ValueError(f"{within[-1] if within else name}.lua: no piece {wanted!r}")
        return filled(text.rstrip(), (*within, wanted))

    return filled((folders[0] / f"{name}.lua").read_text(encoding="utf-8"), ())


class Script:
    """A Lua file of a package that runs on the server in one step, without another in between."""

    def __init__(self, package: str, name: str, *, is_read_only: bool = False) -> None:
        self.name = name
        folders = [files(owner) / "lua" for owner in (package, "everfold.streams")]
        self.source = assemble(name, folders)
        # A user who may only read keys may send these.
        self._suffix = "_RO" if is_read_only else ""
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self,
        redis: Redis,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        replicas: Replicas = NONE,
    ) -> list[object]:
        """Run the script and return its reply, as the `Returns` lines of its file say.

        Raises a leaf of Unavailable, and then nothing is known about what it did; TooFewReplicas
        where fewer have it than `replicas` asks for, and then it was done.
        """
        reply, too_few = await self.run_replicated(redis, keys, arguments, replicas)
        if too_few is not None:
            raise too_few
        return reply

    async def run_replicated(
        self, redis: Redis, keys: Sequence[str], arguments: Sequence[Argument], replicas: Replicas
    ) -> tuple[list[object], TooFewReplicas | None]:
        """As `run`, but what is to be raised for too few replicas is returned with the reply."""

        async def send(name: str, script: str) -> tuple[object, TooFewReplicas | None]:
            sent = (f"{name}{self._suffix}", script, len(keys), *keys, *arguments)
            if replicas.count:
                return await replicated(redis, replicas, *sent)
            return await command(redis, *sent), None

        began_s = perf_counter()
        try:
            reply, too_few = await send("EVALSHA", self.sha)
        except NoScript:
            reply, too_few = await send("EVAL", self.source)
        SCRIPT_S.observe(perf_counter() - began_s, self.name)
        return cast("list[object]", reply), too_few
