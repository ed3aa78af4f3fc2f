"""Fetches a file from a URL, so that a job's bytes are fixed when it is submitted.

Rule: each hop's name is resolved once, all its addresses are checked, and the connection goes to a
checked one. Nothing of the caller's is sent, no cookie is kept, nothing is unpacked; size, silence
and the whole time have limits. No text shows more of an address than its host.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from socket import gaierror
from urllib.parse import unquote

import anyio
import httpx
from msgspec import Struct

from everfold.assets.input_rules import InputRules
from everfold.sinks.addresses import NotAllowed, resolve
from everfold.streams.assets.asset import safe_name
from everfold.streams.border.addresses import masked_receiver
from everfold.streams.border.values import shown
from everfold.streams.errors import InputRefused

REDIRECTS_LIMIT = 5
SCHEMES = ("http", "https")

_QUOTED = re.compile(r'filename\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_BARE = re.compile(r"filename\s*=\s*([^\s;\"]+)", re.IGNORECASE)
_EXTENDED = re.compile(r"filename\*\s*=\s*(?:utf-8)?'[^']*'([^\s;]+)", re.IGNORECASE)


class Fetched(Struct, frozen=True):
    """A file that is being read."""

    name: str
    """Safe as a file's name: of Content-Disposition, else of the last address."""
    chunks: AsyncIterator[bytes]
    """Raises InputRefused where the rest does not come, or is too much."""
    size_bytes: int | None
    """As the server says; None where it does not."""


def is_url(text: str) -> bool:
    """Say whether a text is meant as an address to fetch from."""
    scheme, colon, rest = text.partition(":")
    return bool(colon) and scheme.lower() in SCHEMES and rest.startswith("//")


@asynccontextmanager
async def fetch(place: str, text: str, rules: InputRules) -> AsyncIterator[Fetched]:
    """Open what is at a URL, over redirects. Raises InputRefused, which names the input `place`."""
    began_s = anyio.current_time()
    source = _Source(place, masked_receiver(text), rules, began_s + rules.fetch_within_s)
    async with open_client(rules.fetch_silence_s) as client:
        answer = await source.follow(client, source.checked(text))
        try:
            size = source.size_of(answer)
            yield Fetched(_name(answer), source.chunks(answer), size)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await answer.aclose()


def open_client(silence_s: float) -> httpx.AsyncClient:
    """Open a client that follows no redirect and keeps nothing. The caller closes it."""
    return httpx.AsyncClient(
        timeout=silence_s,
        # No proxy, and no password of a .netrc: the checked address is where it goes.
        trust_env=False,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "everfold"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(max_keepalive_connections=0),
        event_hooks={"response": [_hide_location]},
    )


async def _hide_location(answer: httpx.Response) -> None:
    """httpx builds the request of a redirect that it does not follow, which may raise."""
    answer.extensions["location"] = answer.headers.pop("Location", "")


class _Source:
    """One address that is fetched from, and what may be said of it."""

    def __init__(self, place: str, shown_url: str, rules: InputRules, end_s: float) -> None:
        self._place, self._shown = place, shown_url
        self._rules, self._end_s = rules, end_s

    def refused(self, why: str) -> InputRefused:
        return InputRefused(self._place, f"{self._shown}: {why}")

    def checked(self, text: str) -> httpx.URL:
        url, is_sound = None, False
        with suppress(httpx.InvalidURL, TypeError, ValueError):  # their texts show parts of it
            url = httpx.URL(text)
            has_port = url.port is None or 0 < url.port < 2**16
            is_sound = url.scheme in SCHEMES and bool(url.host) and has_port
        if url is None or not is_sound:
            raise self.refused("this is no address to fetch from; write https://host/path")
        if url.userinfo:
            raise self.refused("an address with a password is not fetched from")
        return url

    async def follow(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        """Return the answer to the last hop, unread; each one before it is closed."""
        for _ in range(REDIRECTS_LIMIT + 1):
            answer = await self._ask(client, url)
            if answer.status_code == 200:
                return answer
            await answer.aclose()
            if answer.status_code not in (301, 302, 303, 307, 308):
                raise self.refused(f"the server answered {answer.status_code}")
            url = self._next(url, str(answer.extensions["location"]))
        raise self.refused(f"more than {REDIRECTS_LIMIT} redirects")

    def _next(self, url: httpx.URL, location: str) -> httpx.URL:
        joined = None
        with suppress(httpx.InvalidURL, TypeError, ValueError):
            joined = url.join(location) if location else None
        if joined is None:
            raise self.refused("a redirect to nowhere")
        following = self.checked(str(joined))
        if url.scheme == "https" and following.scheme == "http":
            raise self.refused("a redirect from https to http is not followed")
        return following

    async def _ask(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        port = url.port or (443 if url.scheme == "https" else 80)
        # The name as it goes over the wire: two rules for other alphabets name two hosts.
        host = url.raw_host.decode()
        try:
            with anyio.fail_after(self._left_s()):
                address = await resolve(host, port, allow_private=self._rules.allow_private)
                request = client.build_request(
                    "GET",
                    url.copy_with(host=address, fragment=None),
                    headers={"host": url.netloc.decode()},
                    extensions={"sni_hostname": host},
                )
                return await client.send(request, stream=True)
        except NotAllowed:
            raise self.refused(
                f"{shown(host)} is not a public address; allow private ones with --allow-private"
            ) from None
        except Exception as error:  # a server can make the client raise nearly anything
            raise self._failed(error) from error

    def size_of(self, answer: httpx.Response) -> int | None:
        """Return the size that the server tells; refuse what is too large or compressed."""
        encoding = answer.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise self.refused(f"the answer is compressed ({shown(encoding[:20])})")
        told = answer.headers.get("Content-Length", "")
        size = int(told) if told.isascii() and told.isdigit() and len(told) < 19 else None
        if size is not None or told:
            self._check_size(self._rules.fetch_limit_bytes + 1 if size is None else size)
        return size

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._rules.fetch_limit_bytes:
            raise self.refused(f"it is larger than {self._rules.fetch_limit_bytes:,} bytes")

    async def chunks(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the body as it comes; the whole time is limited, whatever the reader does."""
        size_bytes, pieces = 0, answer.aiter_raw(chunk_size=64 * 1024)
        while True:
            try:
                with anyio.fail_after(self._left_s()):
                    chunk = await anext(pieces, None)
            except Exception as error:
                raise self._failed(error) from error
            if chunk is None:
                return
            size_bytes += len(chunk)
            self._check_size(size_bytes)
            yield chunk

    def _left_s(self) -> float:
        return max(0.0, self._end_s - anyio.current_time())

    def _failed(self, error: Exception) -> InputRefused:
        if anyio.current_time() >= self._end_s:
            return self.refused(f"it did not come within {self._rules.fetch_within_s:g} s")
        if isinstance(error, httpx.ReadTimeout):
            return self.refused(f"nothing came for {self._rules.fetch_silence_s:g} s")
        if isinstance(error, gaierror):
            return self.refused("it cannot be read: its host has no address")
        if isinstance(error, httpx.ConnectError):
            return self.refused("it cannot be read: no connection to its host")
        # An error's own text may show the whole address.
        return self.refused(f"it cannot be read ({type(error).__name__})")


def _name(answer: httpx.Response) -> str:
    told = answer.headers.get("Content-Disposition", "")[:2_000]
    if found := _EXTENDED.search(told):
        return safe_name(unquote(found[1]))
    if found := _QUOTED.search(told) or _BARE.search(told):
        return safe_name(re.sub(r"\\(.)", r"\1", found[1]))
    return safe_name(unquote(answer.request.url.path))
