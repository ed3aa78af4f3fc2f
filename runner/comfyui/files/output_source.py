"""The files of attempts that one server has executed.

Rule: a file counts only where the server that took the attempt answers before and after: another
one may have a file of the same name. The boot marker proves it, else the server's identity; without
either the file is unreachable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everfold.runner.backend import (
    DownloadBroken,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    Unreachable,
)
from everfold.runner.comfyui.boot import BootMarker
from everfold.runner.comfyui.files.download import download
from everfold.runner.comfyui.http import ComfyHttp, or_unreachable
from everfold.runner.comfyui.identity import ServerIdentity
from everfold.streams.events.event import ON_HOST

Elsewhere = OutputGone | Unreachable
"""What is answered where another server, or another boot, than the attempt's answers now."""


class OutputSource:
    """Opens files; `boot` and `server` of each call are those recorded with the attempt."""

    def __init__(self, http: ComfyHttp, boot: BootMarker, identity: ServerIdentity) -> None:
        self._http, self._boot, self._identity = http, boot, identity

    @asynccontextmanager
    async def open(self, file: OutputFile, boot: str, server: str) -> AsyncIterator[OutputAnswer]:
        """Implements `everfold.runner.backend.Backend.open_output`."""
        if (elsewhere := await self._elsewhere(file, boot, server)) is not None:
            yield elsewhere
            return
        async with download(self._http, file) as answer:
            if isinstance(answer, OutputBody):
                yield OutputBody(answer.size_bytes, self._proven(answer, file, boot, server))
            else:
                # Whoever came between may not have what the server has.
                yield await self._elsewhere(file, boot, server) or answer

    async def _proven(
        self, body: OutputBody, file: OutputFile, boot: str, server: str
    ) -> AsyncIterator[bytes]:
        async for chunk in body.chunks:
            yield chunk
        elsewhere = await self._elsewhere(file, boot, server)
        if elsewhere is not None:
            why = elsewhere.why if isinstance(elsewhere, Unreachable) else "it has restarted"
            raise DownloadBroken(f"the file may be of another server: {why}")

    async def _elsewhere(self, file: OutputFile, boot: str, server: str) -> Elsewhere | None:
        return await or_unreachable(self._look(file, boot, server))

    async def _look(self, file: OutputFile, boot: str, server: str) -> Elsewhere | None:
        is_alive = await self._boot.is_alive(boot)
        if isinstance(is_alive, Unreachable):
            return is_alive
        if is_alive:
            return None
        if not server or server.startswith(ON_HOST):
            return Unreachable("it has restarted, or another server answers there")
        found = await self._identity.read()
        if isinstance(found, Unreachable):
            return found
        if found != server:
            return Unreachable("another server answers there")
        # Temporary files do not outlive a boot: another prompt may have their names now.
        return OutputGone() if file.kind == "temp" else None
