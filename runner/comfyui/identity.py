"""Which server this is, whatever address it is reached by.

The identity is the content of a small file in the server's input folder, which outlives restarts.
It is made at first contact; whoever makes it reads it again and believes what the server has, so
that two makers agree. Servers that share an input folder have one identity.
"""

from __future__ import annotations

import re
from uuid import uuid4

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui.http import Answer, ComfyHttp, SharedRead

FILENAME, SUBFOLDER = "server.txt", "everfold"
IDENTITY = re.compile(rb"server-[0-9a-f-]{36}")


class ServerIdentity:
    """The identity of the server behind one address."""

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http
        self._current = SharedRead(self._read_or_make)

    async def current(self) -> str | Unreachable:
        """Return the identity, making one if the server has none."""
        return await self._current.fresh()

    async def read(self) -> str | Unreachable:
        """Return the identity; empty when the server has none."""
        answer = await self._http.small_file(FILENAME, kind="input", subfolder=SUBFOLDER)
        match answer:
            case Answer(status=200) if IDENTITY.fullmatch(answer.body):
                return answer.body.decode()
            case Answer(status=404):
                return ""
            case Answer(status=status):
                return Unreachable(f"GET /view answered {status} and not the server's identity")
        return answer

    async def _read_or_make(self) -> str | Unreachable:
        found = await self.read()
        if found != "":
            return found
        content = f"server-{uuid4()}".encode()
        made = await self._http.upload(FILENAME, content, subfolder=SUBFOLDER, overwrite=False)
        if isinstance(made, Unreachable):
            return made
        return await self.read() or Unreachable("the server's identity cannot be read back")
