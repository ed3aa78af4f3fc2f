"""/api/<extension>/...: passed on to the servers that have the extension.

Rule: what may change something goes to all of them, so that a job may run at any; what is read
comes from the first that has it. Nothing is promised of what an extension keeps: it goes with its
server. No key, cookie or address of a caller leaves the gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from everfold.web.bodies import read_body
from everfold.web.comfyui.extensions.naming import label_of, servers_of
from everfold.web.comfyui.server.connections import BackendRequest, passed
from everfold.web.operation import Call
from everfold.web.problem import AWAY_RETRY_S, Problem

if TYPE_CHECKING:
    import httpx

SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
NOTHING = "there is nothing at this path"
SENT = ("accept", "content-type")
"""Headers that a server is told."""


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


async def _asked(call: Call, extension: str) -> BackendRequest:
    rest = call.request.path_params["rest"].split("/")
    if any(part in ("", ".", "..") for part in rest):
        raise Problem(404, "not_found", NOTHING)
    headers = call.request.headers
    return BackendRequest(
        method=call.request.method,
        path="/".join(["/api", extension, *(quote(part, safe="") for part in rest)]),
        params=tuple(call.request.query_params.multi_items()),
        headers={name: headers[name] for name in SENT if name in headers},
        body=await read_body(call, call.gateway.settings.body_limit_bytes),
    )


async def _first_that_has_it(call: Call, urls: Sequence[str], asked: BackendRequest) -> Response:
    last: httpx.Response | None = None
    for url in urls:
        answer = await call.gateway.backends.ask(url, asked)
        if answer is None:
            continue
        if last is not None:
            await last.aclose()
        last = answer
        if answer.status_code != 404:
            break
    if last is None:
        raise _away()
    return passed(last)


async def _at_all(call: Call, urls: Sequence[str], asked: BackendRequest) -> Response:
    answers = await asyncio.gather(*(call.gateway.backends.ask(url, asked) for url in urls))
    there = [answer for answer in answers if answer is not None]
    # One that refuses tells more than one that agrees.
    there.sort(key=lambda answer: answer.status_code, reverse=True)
    for answer in there[1:]:
        await answer.aclose()
    if len(there) < len(urls):
        for answer in there[:1]:
            await answer.aclose()
        raise _away()
    return passed(there[0])


def _away() -> Problem:
    why = "a server that has this extension does not answer"
    return Problem(503, "unavailable", why, retry_after_s=AWAY_RETRY_S)
