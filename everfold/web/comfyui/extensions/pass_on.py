"""/api/<extension>/...: passed on to the servers that have the extension.

Rule: what may change something goes to all of them, so that a job may run at any; what is read
comes from the first that has it. Nothing is promised of what an extension keeps: it goes with its
server. No key, cookie or address of a caller leaves the gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

import httpx
from msgspec import Struct
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from everfold.runner.access.access import Access
from everfold.runner.access.address import read_address
from everfold.runner.comfyui.http import open_client
from everfold.web.bodies import read_body
from everfold.web.comfyui.extensions.naming import label_of, servers_of
from everfold.web.operation import Call
from everfold.web.problem import AWAY_RETRY_S, Problem

SILENCE_S = 60.0
"""Seconds for which a server may be silent: reading its models takes a while."""
ANSWER_LIMIT_BYTES = 256 * 1024 * 1024
"""The largest answer that is passed on."""
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
NOTHING = "there is nothing at this path"
SENT = ("accept", "content-type")
"""Headers that a server is told."""
SHOWN = ("application/json", "application/octet-stream", "audio/", "image/", "text/plain", "video/")
"""Media types that a browser may open; others, an extension's pages among them, are downloaded."""


class Asked(Struct, frozen=True, kw_only=True):
    """What is sent to each server."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes


class ExtensionServers:
    """The connections of one gateway to the servers that have extensions."""

    def __init__(self, accesses: Mapping[str, Access]) -> None:
        self._accesses = accesses
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def ask(self, url: str, asked: Asked) -> httpx.Response | None:
        """Return a server's answer with its body unread; None for one that gives none."""
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
            access = self._accesses.get(url) or Access(address=read_address(url))
            context = access.ssl_context()
            self._clients[url] = open_client(access.address, context, silence_s=SILENCE_S)
        return self._clients[url]

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()


async def pass_on(call: Call) -> Response:
    """Answer what belongs to an extension. 404 where no server has it."""
    name = call.request.path_params["extension"]
    asked = await _asked(call, name)
    if not SAFE_NAME.fullmatch(name):
        raise Problem(404, "not_found", NOTHING)
    servers = servers_of(name, await call.gateway.sampled.backends())
    if not servers:
        why = f"{NOTHING}: no server that answers has the label {label_of(name)}"
        raise Problem(404, "not_found", why)
    urls = [one.name for one in servers]
    if asked.method == "GET":
        return await _first_that_has_it(call, urls, asked)
    return await _at_all(call, urls, asked)


async def _asked(call: Call, extension: str) -> Asked:
    rest = call.request.path_params["rest"].split("/")
    if any(part in ("", ".", "..") for part in rest):
        raise Problem(404, "not_found", NOTHING)
    headers = call.request.headers
    return Asked(
        method=call.request.method,
        path="/".join(["/api", extension, *(quote(part, safe="") for part in rest)]),
        params=tuple(call.request.query_params.multi_items()),
        headers={name: headers[name] for name in SENT if name in headers},
        body=await read_body(call, call.gateway.settings.body_limit_bytes),
    )


async def _first_that_has_it(call: Call, urls: Sequence[str], asked: Asked) -> Response:
    last: httpx.Response | None = None
    for url in urls:
        answer = await call.gateway.extensions.ask(url, asked)
        if answer is None:
            continue
        if last is not None:
            await last.aclose()
        last = answer
        if answer.status_code != 404:
            break
    if last is None:
        raise _away()
    return _passed(last)


async def _at_all(call: Call, urls: Sequence[str], asked: Asked) -> Response:
    answers = await asyncio.gather(*(call.gateway.extensions.ask(url, asked) for url in urls))
    there = [answer for answer in answers if answer is not None]
    # One that refuses tells more than one that agrees.
    there.sort(key=lambda answer: answer.status_code, reverse=True)
    for answer in there[1:]:
        await answer.aclose()
    if len(there) < len(urls):
        for answer in there[:1]:
            await answer.aclose()
        raise _away()
    return _passed(there[0])


def _away() -> Problem:
    why = "a server that has this extension does not answer"
    return Problem(503, "unavailable", why, retry_after_s=AWAY_RETRY_S)


def _passed(answer: httpx.Response) -> Response:
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
