"""The websocket of one attempt: a reader that never waits for its consumer.

Rule: each message is merged at once, so that memory stays bounded and a slow consumer cannot make
ComfyUI's publish loop wait, which would freeze every client. A reconnect uses the attempt's own
client_id and waits for the end of the old socket first: if the old one closed after the new one
opened, ComfyUI would send nothing to the new one.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
from websockets.asyncio.client import ClientConnection, connect

from everfold.runner.backend import Attempt, Sighting
from everfold.runner.comfyui.address import Address
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.messages import decode
from everfold.runner.comfyui.sightings import Sightings

MAX_FRAME_BYTES = 16 * 2**20
"""A longer message cuts the connection, which asks for the truth: it has the outputs too."""
MAX_QUEUED_FRAMES = 4

log = logging.getLogger(__name__)

_frames = logging.getLogger("everfold.websocket")
_frames.setLevel(logging.WARNING)  # its records of lower levels show the headers

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 60.0
"""Long, because a node that holds the interpreter lock keeps ComfyUI from answering pings."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Back-off between attempts to connect."""
FIRST_LOOK_S = 2.0
"""How long `open_socket` waits for the first connection before it goes on without."""


class SocketObservation:
    """Implements `everfold.runner.backend.Observation`; use it within `open_socket`."""

    def __init__(
        self,
        address: Address,
        attempt: Attempt,
        workflow: bytes,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        query = urlencode({"clientId": attempt.client_id})
        self._url = f"{address.websocket_url}/ws?{query}"
        self._address = address
        # True stands for the system's certificates; without wss:// none may be given.
        self._ssl = (ssl_context or True) if self._url.startswith("wss://") else None
        self._sightings = Sightings(attempt.prompt_id, read_plan(workflow))
        self._news = anyio.Event()
        self._tried = anyio.Event()
        """Set when an attempt to connect has succeeded or failed."""
        self._session = anyio.CancelScope()
        self._pause_s = FIRST_PAUSE_S

    async def next(self, timeout_s: float) -> Sighting:
        with anyio.move_on_after(timeout_s):
            await self._news.wait()
        if self._news.is_set():
            self._news = anyio.Event()
        return self._sightings.merge()

    async def reconnect(self) -> None:
        self._tried = anyio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._session.cancel()
        await self.wait_until_tried(CLOSE_TIMEOUT_S + OPEN_TIMEOUT_S)

    async def wait_until_tried(self, timeout_s: float) -> None:
        """Wait until a connection was opened or refused, at most `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            await self._tried.wait()

    def learn_outputs(self, outputs: frozenset[str]) -> None:
        """Use the outputs that the server's queue names."""
        self._sightings.learn_outputs(outputs)
        self._notify()

    def drop_outputs(self, broken: frozenset[str]) -> None:
        """Leave out the outputs that need a node which the server refused."""
        self._sightings.drop_outputs(broken)
        self._notify()

    async def run(self) -> None:
        """Connect and read until cancelled; reconnect with back-off."""
        while True:
            with anyio.CancelScope() as self._session:
                await self._connect_and_read()
                await anyio.sleep(self._pause_s)
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    async def _connect_and_read(self) -> None:
        try:
            socket = await self._open()
        except Exception as error:  # a server can make the handshake raise nearly anything
            log.debug("websocket_refused url=%s error=%r", self._url, error)
            self._tried.set()
            return
        try:
            self._tried.set()
            self._miss()
            await self._read(socket)
        except Exception as error:
            log.debug("websocket_lost url=%s error=%r", self._url, error)
        finally:
            await _close(socket)
            self._miss()

    async def _open(self) -> ClientConnection:
        return await _Connect(
            self._url,
            ssl=self._ssl,
            additional_headers=self._address.revealed_headers(),
            max_size=MAX_FRAME_BYTES,
            max_queue=MAX_QUEUED_FRAMES,
            # Saves the server's event loop the work; the two are mostly near each other.
            compression=None,
            proxy=None,
            logger=_frames,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
        )

    async def _read(self, socket: ClientConnection) -> None:
        async for frame in socket:
            self._pause_s = FIRST_PAUSE_S
            self._sightings.hear()
            self._sightings.add(decode(frame))
            self._notify()
            # A flood is read without a pause otherwise, and nothing else of the runner would run.
            await anyio.lowlevel.checkpoint()

    def _miss(self) -> None:
        self._sightings.miss()
        self._notify()

    def _notify(self) -> None:
        if self._sightings.has_news:
            self._news.set()


class _Connect(connect):
    """Follows no redirect: the handshake carries credentials, and the address is the server's."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def _close(socket: ClientConnection) -> None:
    """Close and wait for the end, even when cancelled; cut the connection if no answer comes."""
    with anyio.move_on_after(2 * CLOSE_TIMEOUT_S, shield=True):
        with suppress(Exception):
            await socket.close()
            await socket.wait_closed()
    socket.transport.abort()


@asynccontextmanager
async def open_socket(observation: SocketObservation) -> AsyncIterator[SocketObservation]:
    """Run the reader during the body of the context; an error of the body is raised as it is."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(observation.run)
        try:
            await observation.wait_until_tried(FIRST_LOOK_S)
            yield observation
        except Exception as error:
            # Raised inside the task group it would be wrapped in an exception group.
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
