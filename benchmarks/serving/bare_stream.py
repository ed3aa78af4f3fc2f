"""What `gateway` stands beside: a bare ASGI application that sends the same bytes to as many.

One frame goes to all connections of a path at once, as often as a line on stdin says. It reads no
log, knows no jobs, and does nothing but send.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from importlib.util import find_spec
from typing import Any

import anyio
import uvicorn

FRAME = b"event: progress\ndata: " + b"x" * 130 + b"\n\n"


class BareStream:
    """The application; `tell` sends one frame to all who listen to a number."""

    def __init__(self) -> None:
        self._more = dict[str, asyncio.Future[bytes]]()

    def tell(self, number: str) -> None:
        if (more := self._more.pop(number, None)) is not None:
            more.set_result(FRAME)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        number = scope["path"].rpartition("/")[2]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": ready\n\n", "more_body": True})
        while True:
            more = self._more.setdefault(number, asyncio.get_running_loop().create_future())
            frame = await asyncio.shield(more)
            await send({"type": "http.response.body", "body": frame, "more_body": True})


async def main() -> None:
    made = BareStream()
    config = uvicorn.Config(made, log_config=None, access_log=False, lifespan="off")
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    serving = asyncio.create_task(uvicorn.Server(config).serve([listening]))
    while line := await reader.readline():
        made.tell(line.decode().strip())
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": find_spec("uvloop") is not None})
