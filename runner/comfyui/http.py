"""ComfyUI's HTTP interface: one coroutine per route that Everfold uses.

Rule: nothing is ever sent twice, and each call has a limit of time and of size. Redirects,
compression and cookies are refused. Trouble is an `Unreachable` and not an exception, whatever its
type: a server can make httpx, a codec or a parser raise nearly anything.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Generic, TypeVar
from urllib.parse import quote

import anyio
import anyio.lowlevel
import httpx
from msgspec import Struct

from everfold.runner import loose_json
from everfold.runner.access.address import PLAIN_HEADERS, Address, without_secrets
from everfold.runner.access.advice import why_unreached
from everfold.runner.backend import OutputFile, Unreachable
from everfold.streams.border.addresses import masked_text
from everfold.streams.border.logger import get_logger
from everfold.streams.border.secrets import Secret

logger = get_logger("everfold.runner")

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
HISTORY_WITHIN_S = 60.0
"""For a whole history entry, which may be large and come over a slow line."""
BODY_LIMIT_BYTES = 16 * 2**20
HISTORY_LIMIT_BYTES = 64 * 2**20
"""An entry holds the graph and everything that its nodes have put out."""
QUEUE_LIMIT_BYTES = 64 * 2**20
"""The queue holds the graph and the extra data of each prompt, anybody's: some MiB each."""
OBJECT_INFO_WITHIN_S = 30.0
OBJECT_INFO_LIMIT_BYTES = 64 * 2**20
KEPT_OF_CUT_BYTES = 4096
TINY_CHUNKS, TINY_BYTES = 5_000, 100
"""Beyond so many, the pieces of a body have so many bytes on average: each takes time."""
EXCERPT_LIMIT, EXCERPT_READ_BYTES = 200, 2_000
"""Characters of a body in a message, and what is searched for secrets: none is cut in two."""
EXPLANATION_LIMIT = 300
"""Characters kept of an error's text: it may repeat what the server sent."""


class BodyRefused(Exception):
    """The body is larger than allowed, compressed, or in tiny pieces."""


class BodyTooLarge(BodyRefused):
    """The body is larger than allowed."""

    def __init__(self, status: int, beginning: bytes, limit_bytes: int) -> None:
        super().__init__(f"the answer is larger than {limit_bytes} bytes")
        self.status, self.beginning = status, beginning[:KEPT_OF_CUT_BYTES]


class Answer(Struct, frozen=True):
    """What the server answered, whatever the status."""

    status: int
    body: bytes
    is_cut: bool = False
    """The body was larger than allowed, and only its beginning is here."""
    sent_headers: Mapping[str, Secret] = {}
    """Of the client that asked; a server may repeat them in its answer."""

    def json(self) -> object:
        """Return the body's value; None when it is not JSON."""
        try:
            return loose_json.read(self.body)
        except ValueError:
            return None

    def excerpt(self) -> str:
        """Return the beginning of the body on one line, for messages to people."""
        beginning = self.body[:EXCERPT_READ_BYTES].decode(errors="replace")
        # GET /queue of an older server shows the partner keys of everybody's prompts.
        shown = masked_text(without_secrets(beginning, self.sent_headers))
        return printable(shown[:EXCERPT_LIMIT])


class ComfyHttp:
    """Calls on one server; knows no job and decides nothing.

    An Answer may have any status. Unreachable: no answer came within `timeout_s`.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        ssl_context: ssl.SSLContext | None,
        keep_alive: bool = True,
    ) -> None:
        self.address = address
        self._timeout_s, self._ssl_context = timeout_s, ssl_context
        self._client = open_client(address, ssl_context, silence_s=timeout_s, keep_alive=keep_alive)
        self._has_spoken = False
        """Whether it has ever answered."""

    @asynccontextmanager
    async def anew(self) -> AsyncIterator[ComfyHttp]:
        """Yield the same calls, each over a connection of its own."""
        within_s, context = self._timeout_s, self._ssl_context
        http = ComfyHttp(self.address, timeout_s=within_s, ssl_context=context, keep_alive=False)
        http._has_spoken = self._has_spoken
        try:
            yield http
        finally:
            with anyio.CancelScope(shield=True):
                await http.aclose()

    async def queue(self) -> Answer | Unreachable:
        """Return what runs and what waits."""
        return await self._ask("GET", "/queue", limit_bytes=QUEUE_LIMIT_BYTES)

    async def history(self, prompt_id: str) -> Answer | Unreachable:
        """Return the history entry of one prompt; `{}` when there is none.

        Of an entry of more than HISTORY_LIMIT_BYTES the answer has the beginning.
        """
        path = f"/history/{quote(prompt_id, safe='')}"
        within_s = max(HISTORY_WITHIN_S, self._timeout_s)
        try:
            request = self._client.build_request("GET", path)
            return await self._send(request, HISTORY_LIMIT_BYTES, within_s)
        except BodyTooLarge as error:
            return Answer(error.status, error.beginning, True, sent_headers(self._client))
        except Exception as error:
            return self._unreachable(f"GET {path}", error)

    async def cancel_job(self, prompt_id: str) -> Answer | Unreachable:
        """Cancel the prompt, queued or running, in one step; only newer servers have the route."""
        return await self._ask("POST", f"/api/jobs/{quote(prompt_id, safe='')}/cancel", json={})

    async def delete_pending(self, prompt_id: str) -> Answer | Unreachable:
        """Delete the prompt from the queue; nothing happens when it runs or is unknown."""
        return await self._ask("POST", "/queue", json={"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> Answer | Unreachable:
        """Interrupt the prompt if it runs. Raises ValueError for an empty id."""
        if not prompt_id:
            # ComfyUI interrupts the prompt that runs, anybody's, when the id is missing or empty.
            raise ValueError("an interrupt needs a prompt_id")
        return await self._ask("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def object_info(self) -> Answer | Unreachable:
        """Return what the server says of all its node classes: megabytes, and as slow as that."""
        try:
            request = self._client.build_request("GET", "/object_info")
            return await self._send(request, OBJECT_INFO_LIMIT_BYTES, OBJECT_INFO_WITHIN_S)
        except Exception as error:
            return Unreachable(f"GET /object_info: {explain(error)}")

    async def system_stats(self) -> Answer | Unreachable:
        """Return the versions and devices of the server."""
        return await self._ask("GET", "/system_stats")

    async def upload(
        self,
        filename: str,
        content: bytes,
        *,
        kind: str = "input",
        subfolder: str = "",
        overwrite: bool = True,
    ) -> Answer | Unreachable:
        """Upload a file; `kind` is input, temp or output.

        Without `overwrite` a file of the same name stays, and the new one gets another name.
        """
        return await self._ask(
            "POST",
            "/upload/image",
            files={"image": (filename, content)},
            form={
                "type": kind,
                "subfolder": subfolder,
                "overwrite": "true" if overwrite else "false",
            },
        )

    async def small_file(
        self, filename: str, *, kind: str, subfolder: str = ""
    ) -> Answer | Unreachable:
        """Return a whole file; status 404 when the server does not have it."""
        params = {"filename": filename, "type": kind, "subfolder": subfolder}
        return await self._ask("GET", "/view", params=params)

    async def begin_view(self, file: OutputFile, silence_s: float) -> httpx.Response:
        """Ask for a file and return the answer with its body unread. The caller closes it.

        Raises what httpx raises, and TimeoutError; `silence_s` holds for the body, too.
        """
        params = {"filename": file.filename, "type": file.kind, "subfolder": file.subfolder}
        silence = httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S)
        request = self._client.build_request("GET", "/view", params=params, timeout=silence)
        with anyio.fail_after(silence_s + CONNECT_TIMEOUT_S):
            return await self._client.send(request, stream=True)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        limit_bytes: int = BODY_LIMIT_BYTES,
    ) -> Answer | Unreachable:
        try:
            request = self._client.build_request(
                method, path, json=json, params=params, data=form, files=files
            )
            return await self._send(request, limit_bytes, self._timeout_s)
        except Exception as error:
            return self._unreachable(f"{method} {path}", error)

    def _unreachable(self, call: str, error: Exception) -> Unreachable:
        """Say what is wrong with the access, or else what the error of a call is."""
        found = why_unreached(error, self.address, has_spoken=self._has_spoken)
        told = without_secrets(explain(error), self._client.headers)
        return Unreachable(found or f"{call}: {told}")

    async def _send(self, request: httpx.Request, limit_bytes: int, within_s: float) -> Answer:
        # httpx limits each silence only; a server that trickles would hold the call for ever.
        with anyio.fail_after(within_s):
            answer = await read_answer(self._client, request, limit_bytes)
        self._has_spoken = True
        return answer

    async def begin(
        self,
        method: str,
        path: str,
        *,
        silence_s: float,
        params: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request and return the answer with its body unread. The caller closes it.

        Raises what httpx and `content` raise; `silence_s` holds for both bodies.
        """
        request = self._client.build_request(
            method,
            path,
            params=params,
            content=content,
            headers=headers,
            timeout=httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S),
        )
        return await self._client.send(request, stream=True)

    async def features(self) -> Answer | Unreachable:
        """Return what the server says it can do, its limits among that."""
        return await self._ask("GET", "/features")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class SharedRead(Generic[T]):
    """One read of the server for all callers that ask at the same time.

    A caller never gets an answer whose read began before its call, because truth depends on the
    order of reads. Callers that arrive during a read share the next one.
    """

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = anyio.Lock()
        self._started = 0
        """Number of reads that have started."""
        self._latest: tuple[int, T] | None = None
        """The newest answer, and the number of its read."""

    async def fresh(self) -> T:
        """Return the answer of a read that starts after this call."""
        wanted = self._started + 1
        async with self._lock:
            if self._latest is not None and self._latest[0] >= wanted:
                return self._latest[1]
            self._started += 1
            number = self._started
            answer = await self._read()
            self._latest = (number, answer)
            return answer


async def read_answer(
    client: httpx.AsyncClient, request: httpx.Request, limit_bytes: int = BODY_LIMIT_BYTES
) -> Answer:
    """Send the request once and return the whole answer.

    Raises BodyRefused for a body that is compressed, larger than the limit or in tiny pieces,
    without reading on, and whatever httpx raises.
    """
    response = await client.send(request, stream=True)
    try:
        refuse_compressed(response)
        chunks, size_bytes = list[bytes](), 0
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise BodyTooLarge(response.status_code, chunks[0], limit_bytes)
            if size_bytes < (len(chunks) - TINY_CHUNKS) * TINY_BYTES:
                raise BodyRefused("the answer comes in tiny pieces")
            # What has come already is read without a pause otherwise.
            await anyio.lowlevel.checkpoint()
        return Answer(response.status_code, b"".join(chunks), sent_headers=sent_headers(client))
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


def sent_headers(client: httpx.AsyncClient) -> dict[str, Secret]:
    """Return the headers of its own that go with each request of a client."""
    found = client.headers.items()
    return {name: Secret(value) for name, value in found if name not in PLAIN_HEADERS}


def refuse_compressed(response: httpx.Response) -> None:
    """Raise BodyRefused for a compressed body: some kilobytes may unfold to gigabytes."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise BodyRefused(f"the answer is compressed ({encoding[:20]!r}), which was not asked for")


async def or_unreachable(call: Awaitable[T]) -> T | Unreachable:
    """Await the call; return Unreachable for any exception that it raises."""
    try:
        return await call
    except Exception as error:
        logger.warning("backend_call_broken why=%r", explain(error), exc_info=True)
        return Unreachable(f"the answer could not be read: {explain(error)}")


def open_client(
    address: Address,
    ssl_context: ssl.SSLContext | None,
    *,
    silence_s: float,
    keep_alive: bool = True,
) -> httpx.AsyncClient:
    """Open a client that never retries and never follows a redirect. The caller closes it.

    `silence_s` is how long the server may say nothing within one call.
    """
    return httpx.AsyncClient(
        base_url=address.url,
        headers={"Accept-Encoding": "identity", **address.revealed_headers()},
        timeout=httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_keepalive_connections=None if keep_alive else 0),
        # Without https none is used, and httpx would make one for each of hundreds of servers.
        verify=ssl_context or address.url.startswith("https://") or _no_certificates(),
        # A proxy meant for the internet must not come between a runner and its own servers.
        trust_env=False,
        # httpx builds the request of a redirect even when it does not follow it, and an odd
        # Location makes that fail.
        event_hooks={"response": [_drop_location]},
        # Nothing is logged in to here; a server's cookies would only pile up.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


@cache
def _no_certificates() -> ssl.SSLContext:
    """Return a context that trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _drop_location(response: httpx.Response) -> None:
    response.headers.pop("Location", None)


def explain(error: Exception) -> str:
    """Describe a network error: its class and its text, which is often empty."""
    name, text = type(error).__name__, printable(str(error)[:EXPLANATION_LIMIT])
    return f"{name}: {text}" if text else name


def printable(text: str) -> str:
    """Return a text from outside on one line, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
