"""The files of attempts that one server has executed.

Rule: a file counts only where the server that took the attempt answers before and after: another
one may have a file of the same name. The boot marker proves it, else the server's identity; without
either the file is unreachable. After a restart a file counts only where the server says that it was
written before the attempt had ended.
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
from everfold.runner.comfyui.files.download import Download, download
from everfold.runner.comfyui.http import ComfyHttp, or_unreachable
from everfold.runner.comfyui.identity import ServerIdentity
from everfold.streams.events.event import ON_HOST

ROUNDING_MS = 1_000
"""ComfyUI rounds `Last-Modified` up to whole seconds. No more than that is forgiven: a restart and
a prompt after it take longer."""


class OutputSource:
    """Opens files; `boot` and `server` of each call are those recorded with the attempt."""

    def __init__(self, http: ComfyHttp, boot: BootMarker, identity: ServerIdentity) -> None:
        self._http, self._boot, self._identity = http, boot, identity

    @asynccontextmanager
    async def open(self, file: OutputFile, boot: str, server: str) -> AsyncIterator[OutputAnswer]:
        """Implements `everfold.runner.backend.Backend.open_output`."""
        is_same = await self._is_same_boot(boot, server)
        if isinstance(is_same, Unreachable):
            yield is_same
            return
        if not is_same and not _may_outlive(file):
            yield OutputGone()
            return
        async with download(self._http, file) as found:
            if not isinstance(found.answer, OutputBody):
                yield await self._without_body(found.answer, file, boot, server)
            elif is_same or _is_of_attempt(found, file):
                chunks = self._proven(found, found.answer, file, boot, server)
                yield OutputBody(found.answer.size_bytes, chunks)
            else:
                yield OutputGone()

    async def _without_body(
        self, answer: OutputAnswer, file: OutputFile, boot: str, server: str
    ) -> OutputAnswer:
        """Return the answer, unless another server may have given it."""
        # Whoever came between may not have what the server has.
        is_same = await self._is_same_boot(boot, server)
        if isinstance(is_same, Unreachable):
            return is_same
        return answer if is_same or _may_outlive(file) else OutputGone()

    async def _proven(
        self, found: Download, body: OutputBody, file: OutputFile, boot: str, server: str
    ) -> AsyncIterator[bytes]:
        async for chunk in body.chunks:
            yield chunk
        is_same = await self._is_same_boot(boot, server)
        if isinstance(is_same, Unreachable):
            raise DownloadBroken(f"the file may be of another server: {is_same.why}")
        if not is_same and not _is_of_attempt(found, file):
            raise DownloadBroken("the file may be of another prompt: the server has restarted")

    async def _is_same_boot(self, boot: str, server: str) -> bool | Unreachable:
        """Say whether the attempt's boot answers; False: a later one of the same server does."""
        return await or_unreachable(self._look(boot, server))

    async def _look(self, boot: str, server: str) -> bool | Unreachable:
        is_alive = await self._boot.is_alive(boot)
        if is_alive or isinstance(is_alive, Unreachable):
            return is_alive
        if not server or server.startswith(ON_HOST):
            return Unreachable("it has restarted, or another server answers there")
        found = await self._identity.read()
        if isinstance(found, Unreachable):
            return found
        return False if found == server else Unreachable("another server answers there")


def _may_outlive(file: OutputFile) -> bool:
    """Say whether a later boot may have the file and can show that it is that of the attempt.

    Temporary files do not outlive a boot.
    """
    return file.kind != "temp" and file.written_by_ms > 0


def _is_of_attempt(found: Download, file: OutputFile) -> bool:
    """Say whether what a later boot sends was there when the attempt ended.

    Else another prompt has written it since: its name is free again in an emptied folder. What a
    cache answered is older than its attempt.
    """
    if found.modified_ms is None or not _may_outlive(file):
        return False
    return found.modified_ms < file.written_by_ms + ROUNDING_MS
