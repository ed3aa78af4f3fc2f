"""GET /system_stats and POST /free: the farm as if it were one machine.

Rule: what is not known is 0 or empty, and no address of a server is told.
"""

from __future__ import annotations

import platform

from msgspec import Struct
from starlette.responses import Response

from everfold.web.bodies import json_answer
from everfold.web.operation import Call

COMFYUI_VERSION = "0.3.64"
"""The version of ComfyUI whose API is spoken here; servers may have any."""


class System(Struct, frozen=True, kw_only=True):
    """The machine."""

    os: str
    ram_total: int = 0
    ram_free: int = 0
    comfyui_version: str = COMFYUI_VERSION
    python_version: str
    pytorch_version: str = ""
    embedded_python: bool = False
    argv: list[str]


class Device(Struct, frozen=True, kw_only=True):
    """One server: what its devices are is not known here."""

    name: str
    type: str = "server"
    index: int
    vram_total: int = 0
    vram_free: int = 0
    torch_vram_total: int = 0
    torch_vram_free: int = 0


class SystemStats(Struct, frozen=True, kw_only=True):
    """The body of GET /system_stats."""

    system: System
    devices: list[Device]


async def system_stats(call: Call) -> Response:
    """Answer GET /system_stats."""
    servers = (await call.gateway.catalogue.known()).servers
    devices = [
        Device(name=server.title or f"server {index + 1}", index=index)
        for index, server in enumerate(servers)
    ]
    system = System(
        os="posix",
        python_version=platform.python_version(),
        argv=["everfold", "serve"],
    )
    return json_answer(SystemStats(system=system, devices=devices))


async def free(call: Call) -> Response:
    """Answer POST /free: nothing is done, for the memory of the servers is everybody's."""
    return Response()
