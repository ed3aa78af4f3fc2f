"""Which server this is, whatever address it is reached by, and whether it is one server.

The identity is the content of a small file in the server's input folder, which outlives restarts.
It is made at first contact; whoever makes it reads it again and believes what the server has, so
that two makers agree. Servers that share an input folder have one identity.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import anyio

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui.http import Answer, ComfyHttp, SharedRead

T = TypeVar("T")

FILENAME, SUBFOLDER = "server.txt", "everfold"
IDENTITY = re.compile(rb"server-[0-9a-f-]{36}")

SEVERAL = Unreachable("several servers answer at this address; give each its own")
CONNECTIONS, DOUBTED_CONNECTIONS = 4, 16
"""New connections that each file is read over; more where several servers have answered, because a
balancer may choose the same one each time."""
DOUBTED_S = 10.0
"""How long it is believed that several servers answer before they are asked again."""


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


class OneServer:
    """Tells whether one server answers at an address, or several do behind a balancer.

    A balancer chooses for each connection, or for each request: what is kept alive may reach one
    server for ever while each POST reaches any of them. So files that only one of them has are
    read over new connections, all at the same time.
    """

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http
        self.is_doubted = False
        """Several servers have answered, and since then it was not seen that one does."""
        self._doubted_until_s = 0.0

    @property
    def refusal(self) -> Unreachable | None:
        """SEVERAL where that was found lately."""
        is_late = self.is_doubted and anyio.current_time() < self._doubted_until_s
        return SEVERAL if is_late else None

    def doubt(self) -> Unreachable:
        """Note that several servers answer."""
        self.is_doubted = True
        self._doubted_until_s = anyio.current_time() + DOUBTED_S
        return SEVERAL

    async def has(self, filename: str, content: str) -> bool | Unreachable | None:
        """Return whether the server has a temp file; None where the answers differ, as those of
        several servers do, and those of one that restarts at this moment.

        An identity that cannot be read says nothing, a temp file that cannot is Unreachable.
        Without a filename only identities are compared.
        """
        count = DOUBTED_CONNECTIONS if self.is_doubted else CONNECTIONS
        async with self._http.anew() as http:
            found = list[bool | Unreachable]()
            if filename:
                found = await _together(count, lambda: has_temp_file(http, filename, content))
            identities = await _together(count, ServerIdentity(http).read)
        failed = [one for one in found if isinstance(one, Unreachable)]
        answers = {one for one in found if isinstance(one, bool)}
        known = {one for one in identities if isinstance(one, str)}
        if len(answers) > 1 or len(known) > 1:
            return None
        if failed or (not found and not known):
            return next(one for one in [*failed, *identities] if isinstance(one, Unreachable))
        return answers != {False}


async def has_temp_file(http: ComfyHttp, filename: str, content: str) -> bool | Unreachable:
    """Return whether the server has a temp file with this content."""
    answer = await http.small_file(filename, kind="temp")
    match answer:
        case Answer(status=200) if answer.body == content.encode():
            return True
        case Answer(status=404):
            return False
        case Answer(status=status):
            return Unreachable(f"GET /view answered {status} and not the boot marker")
    return answer


async def _together(count: int, read: Callable[[], Awaitable[T]]) -> list[T]:
    """Return the answers of so many reads at the same time."""
    answers = list[T]()

    async def ask() -> None:
        answers.append(await read())

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(ask)
    return answers
