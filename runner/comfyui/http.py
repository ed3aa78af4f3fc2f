"""ComfyUI's HTTP interface, one coroutine per route that is of use.

Rule: nothing is ever sent twice, each call has a time limit, and trouble is an `Unreachable`, not
an exception: httpx's errors are mapped_errors here and nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import quote

import anyio
import httpx
from msgspec import Struct

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui import loose_json
from everfold.runner.comfyui.address import Address
from everfold.streams.errors import ServerUnreachable

CONNECT_TIMEOUT_S = 5.0
CHUNK_TIMEOUT_S = 30.0
"""Longest silence within a download, whose whole length is not limited."""


class Answer(Struct, frozen=True):
    """What the server answered, whatever the status."""

    status: int
    body: bytes

    def json(self) -> object:
        """Return the body's value; None when it is not JSON."""
        try:
            return loose_json.read(self.body)
        except ValueError:
            return None

    def excerpt(self) -> str:
        return " ".join(self.body[:200].decode(errors="replace").split())


class ComfyHttp:
    """Calls on one server. Knows no job and decides nothing."""

    def __init__(
        self, address: Address, *, timeout_s: float, ssl_context: ssl.SSLContext | None
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._client = open_client(address, ssl_context)

    async def queue(self) -> Answer | Unreachable:
        return await self._ask("GET", "/queue")

    async def history(self, prompt_id: str) -> Answer | Unreachable:
        return await self._ask("GET", f"/history/{quote(prompt_id, safe='')}")

    async def delete_pending(self, prompt_id: str) -> Answer | Unreachable:
        """Take one entry of this id out of the queue; one that runs or is unknown is ignored."""
        return await self._ask("POST", "/queue", json={"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> Answer | Unreachable:
        """Interrupt the prompt if it runs. Raises ValueError for an empty id."""
        if not prompt_id:
            # ComfyUI takes a missing, null or empty id for "whatever runs", whoever's it is.
            raise ValueError("an interrupt needs a prompt_id")
        return await self._ask("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def system_stats(self) -> Answer | Unreachable:
        return await self._ask("GET", "/system_stats")

    async def features(self) -> Answer | Unreachable:
        return await self._ask("GET", "/features")

    async def object_info(self, node_class: str = "") -> Answer | Unreachable:
        """Describe one node class, or all of them, which may be many megabytes."""
        path = f"/object_info/{quote(node_class, safe='')}" if node_class else "/object_info"
        return await self._ask("GET", path)

    async def upload(
        self, filename: str, content: bytes, *, kind: str = "input", subfolder: str = ""
    ) -> Answer | Unreachable:
        """Upload a file of type input, temp or output; one of the same name is overwritten."""
        return await self._ask(
            "POST",
            "/upload/image",
            files={"image": (filename, content)},
            form={"type": kind, "subfolder": subfolder, "overwrite": "true"},
        )

    async def small_file(self, filename: str, *, kind: str) -> Answer | Unreachable:
        """Read a file whole."""
        return await self._ask("GET", "/view", params={"filename": filename, "type": kind})

    @asynccontextmanager
    async def view(
        self, filename: str, *, kind: str = "output", subfolder: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Stream a file; None when the server does not have it (any more).

        Raises ServerUnreachable when the server cannot answer or the download breaks off: what
        was received until then is incomplete.
        """
        params = {"filename": filename, "type": kind, "subfolder": subfolder}
        with _download_errors(self.address.url):
            async with self._client.stream("GET", "/view", params=params) as response:
                if response.status_code >= 500:
                    raise ServerUnreachable(f"GET /view answered {response.status_code}")
                yield response.aiter_bytes() if response.status_code == 200 else None

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Answer | Unreachable:
        try:
            # httpx limits each chunk only; a server that trickles would hold the call for ever.
            with anyio.fail_after(self._timeout_s):
                response = await self._client.request(
                    method, path, json=json, params=params, data=form, files=files
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return Unreachable(f"{method} {path}: {explain(error)}")
        return Answer(response.status_code, response.content)

    async def aclose(self) -> None:
        await self._client.aclose()


def open_client(
    address: Address, ssl_context: ssl.SSLContext | None, *, keep_alive: bool = True
) -> httpx.AsyncClient:
    """Open a client that never retries and never follows a redirect."""
    return httpx.AsyncClient(
        base_url=address.url,
        headers=address.headers,
        timeout=httpx.Timeout(CHUNK_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_keepalive_connections=None if keep_alive else 0),
        # Without https no context is used, and reading all certificates takes a while.
        verify=ssl_context or address.url.startswith("https://"),
        # A proxy meant for the internet must not come between a runner and its own servers.
        trust_env=False,
    )


def explain(error: Exception) -> str:
    """Say a network error in words; many of them have an empty text."""
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name


@contextmanager
def _download_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise ServerUnreachable(f"{url}: {explain(error)}") from error
