"""The HTTP client of sinks: what a receiver answers is read within bounds, and nothing is kept.

Rule: no redirect is followed, no cookie is stored, no answer is unpacked or read to its end.
"""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

ANSWER_LIMIT_BYTES = 64 * 1024

# Who sends bounds how many are under way: a wait in here would look like a receiver that is away.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


def open_client(timeout_s: float, *, proxies: bool) -> httpx.AsyncClient:
    """Open a client; the caller closes it. `proxies` says whether those of the environment count.

    `timeout_s` bounds each silence.
    """
    return httpx.AsyncClient(
        timeout=timeout_s,
        limits=LIMITS,
        trust_env=proxies,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        # httpx builds the request of a redirect that it does not follow, which may raise.
        event_hooks={"response": [_drop_location]},
    )


async def _drop_location(answer: httpx.Response) -> None:
    answer.headers.pop("Location", None)


async def read_start(answer: httpx.Response) -> bytes:
    """Return an answer's body as it came, or its start and one chunk more than 64 KiB at most."""
    start = bytearray()
    async for chunk in answer.aiter_raw():
        start += chunk
        if len(start) > ANSWER_LIMIT_BYTES:
            break
    return bytes(start)
