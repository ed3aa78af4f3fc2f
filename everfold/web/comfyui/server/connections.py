"""Requests that a gateway itself sends to ComfyUI servers, and how their answers are passed on.

Rule: no key, cookie or address of a caller leaves the gateway, and of an answer comes back what its
body is, and its body: as data, never as a page.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from everfold.runner.access.access import Access
from everfold.runner.access.address import read_address

if TYPE_CHECKING:
    import httpx

SILENCE_S = 60.0
"""Seconds for which a server may be silent: reading its models takes a while."""
ANSWER_LIMIT_BYTES = 256 * 1024 * 1024
"""The largest answer that is passed on; a larger one ends there."""
SHOWN = ("application/json", "application/octet-stream", "audio/", "image/", "text/plain", "video/")
"""Media types that a browser may open; others, an extension's pages among them, are downloaded."""


class BackendRequest(Struct, frozen=True, kw_only=True):
    """What is sent to a server."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...]
    headers: dict[str, str] = {}
    body: bytes = b""


class BackendConnections:
    """The connections of one gateway to servers, made when they are first used."""

    def __init__(self, accesses: Mapping[str, Access]) -> None:
        self._accesses = accesses
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def ask(self, url: str, asked: BackendRequest) -> httpx.Response | None:
        """Return a server's answer with its body unread; None for one that gives none."""
        # Here, because most gateways ask no server, and it takes several MiB.
        import httpx

        try:
            client = self._client(url)
            request = client.build_request(
                asked.method,
                asked.path,
                params=httpx.QueryParams(asked.params),
                headers=asked.headers,
                content=asked.body or None,
            )
            return await client.send(request, stream=True)
        except httpx.HTTPError:
            return None

    def _client(self, url: str) -> httpx.AsyncClient:
        if url not in self._clients:
            from everfold.runner.comfyui.http import open_client

            access = self._accesses.get(url) or Access(address=read_address(url))
            context = access.ssl_context()
            self._clients[url] = open_client(access.address, context, silence_s=SILENCE_S)
        return self._clients[url]

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()


def passed(answer: httpx.Response) -> Response:
    """Return a server's answer; of its headers only what its body is."""
    told = answer.headers.get("content-type", "")
    is_shown = re.fullmatch(r"[\x20-\x7e]{1,200}", told) and told.startswith(SHOWN)
    is_shown = is_shown and not told.startswith("image/svg")
    headers = {
        "Content-Type": told if is_shown else "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=0",
    }
    # A server's own trouble is not the gateway's; other numbers than a status are none.
    status = answer.status_code if 200 <= answer.status_code < 500 else 424
    return StreamingResponse(
        _bounded(answer), status, headers, background=BackgroundTask(answer.aclose)
    )


async def _bounded(answer: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > ANSWER_LIMIT_BYTES:
            return
        yield chunk
