"""The websocket of one attempt: a reader that never waits for its consumer.

Rule: each message is merged at once, so that memory stays bounded and a slow consumer cannot make
ComfyUI's publish loop wait, which would freeze every client. A reconnect uses the attempt's own
client_id and waits for the end of the old socket first: if the old one closed after the new one
opened, ComfyUI would send nothing to the new one. A flood is read as slowly as CPU_SHARE allows.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.frames import CTRL_OPCODES, Frame
from websockets.protocol import Event

from everfold.runner.access.address import Address
from everfold.runner.backend import Attempt, Sighting
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.messages import decode
from everfold.runner.comfyui.sightings import Sightings
from everfold.runner.decisions.sent_pictures import PICTURES_LIMIT_BYTES
from everfold.streams.border.logger import get_logger

MAX_FRAME_BYTES = 16 * 2**20
"""A longer message cuts the connection, which asks for the truth: it has the outputs too."""
MAX_PICTURE_BYTES = PICTURES_LIMIT_BYTES + 1024
"""The same where pictures are awaited, which nobody could ask for again."""
MAX_QUEUED_FRAMES = 1

PIECE_BYTES, MOST_FRAMES_OF_PIECE = 4096, 256
"""What came is read in pieces. ComfyUI's shortest message has some thirty bytes."""
MOST_FRAGMENTS = 1000
"""Of one message. ComfyUI sends each message whole, and so do the proxies that are known."""
MOST_CONTROL_FRAMES_PER_S = 100
"""ComfyUI sends none but answers to pings."""

CPU_SHARE, CPU_BURST_S, CPU_TURN_S = 0.12, 0.1, 0.002
"""Of one core, for one socket; a burst is read at once, in turns with the rest of the runner."""
FRAME_CPU_S = 20e-6
"""What handing a frame over takes."""

log = get_logger("everfold.runner")

_frames = get_logger("everfold.websocket")
_frames.setLevel(logging.WARNING)  # its records of lower levels show the headers

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 60.0
"""Long, because a node that holds the interpreter lock keeps ComfyUI from answering pings."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Back-off between attempts to connect."""
_TOLD = set[str]()
"""Addresses of which a refusal was told: jobs run there, and their progress is not seen."""

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
        self._sightings = Sightings(attempt.prompt_id, read_plan(workflow), attempt.costs)
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
        return self._sightings.merge(time.monotonic())

    async def reconnect(self) -> None:
        self._tried = anyio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._session.cancel()
        await self.wait_until_tried(CLOSE_TIMEOUT_S + OPEN_TIMEOUT_S)

    def pass_on(self, is_wanted: bool) -> None:
        self._sightings.pass_on(is_wanted)

    @property
    def is_settled(self) -> bool:
        """Whether the server told that the prompt's end is in its history."""
        return self._sightings.is_settled

    def begin(self) -> None:
        """Note that the prompt is posted now, while the connection is open or will be."""
        self._sightings.begin()

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
            self._tell_refusal(error)
            self._tried.set()
            return
        try:
            self._tried.set()
            self._miss()
            opened_at_s = time.monotonic()
            await self._read(socket)
            if time.monotonic() - opened_at_s > LONGEST_PAUSE_S:
                self._pause_s = FIRST_PAUSE_S
        except Exception as error:
            log.debug("websocket_lost url=%s error=%r", self._url, error)
        finally:
            await _close(socket)
            self._miss()

    def _tell_refusal(self, error: Exception) -> None:
        """Say once of each server that it, or a gateway before it, takes no websocket."""
        url = self._address.url
        if isinstance(error, InvalidStatus) and url not in _TOLD:
            _TOLD.add(url)
            status, advice = error.response.status_code, "let the gateway pass Upgrade headers on"
            log.warning("websocket_refused url=%r status=%d advice=%r", url, status, advice)

    async def _open(self) -> ClientConnection:
        return await _Connect(
            self._url,
            create_connection=_Connection,
            ssl=self._ssl,
            additional_headers=self._address.revealed_headers(),
            max_size=MAX_PICTURE_BYTES if self._sightings.awaits_pictures else MAX_FRAME_BYTES,
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
        pace = _Pace()
        async for frame in socket:
            began_s = time.thread_time()
            self._sightings.hear()
            self._sightings.add(decode(frame), len(frame), time.monotonic())
            self._notify()
            received_s = socket.take_spent_s() if isinstance(socket, _Connection) else 0.0
            pace.spend(received_s + time.thread_time() - began_s + FRAME_CPU_S)
            # A flood is read without a pause otherwise, and nothing else of the runner would run.
            if pace.is_over:
                await anyio.sleep(pace.take_pause_s())

    def _miss(self) -> None:
        self._sightings.miss()
        self._notify()

    def _notify(self) -> None:
        if self._sightings.has_news:
            self._news.set()


class _Pace:
    """Says when a reader has to pause, so that it takes CPU_SHARE of a core in the long run."""

    def __init__(self) -> None:
        self._spent_s = 0.0
        """Less what was earned since: a share of the time that has gone by."""
        self._at_s = time.monotonic()
        self._turn_s = 0.0
        """Spent since the last pause."""

    def spend(self, cpu_s: float) -> None:
        now_s = time.monotonic()
        earned_s = (now_s - self._at_s) * CPU_SHARE
        self._spent_s, self._at_s = max(0.0, self._spent_s - earned_s) + cpu_s, now_s
        self._turn_s += cpu_s

    @property
    def is_over(self) -> bool:
        """Whether it is the turn of others."""
        return self._turn_s > CPU_TURN_S

    def take_pause_s(self) -> float:
        """Return how long to pause now: seldom and for long, since each pause costs time too."""
        self._turn_s = 0.0
        if self._spent_s < CPU_BURST_S:
            return 0.0
        return (self._spent_s - CPU_BURST_S / 2) / CPU_SHARE


class _Connection(ClientConnection):
    """Cuts the connection to a server that sends many tiny frames, fragments or control frames.

    The library handles them before anybody reads a message, so that nothing else limits them.
    """

    _spent_s = 0.0
    _frames_of_piece = 0
    _fragments = 0
    _control_frames = 0
    _second = 0

    def take_spent_s(self) -> float:
        """Return the CPU time that was spent on what came since the last call."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s

    def data_received(self, data: bytes) -> None:
        began_s = time.thread_time()
        for start in range(0, len(data), PIECE_BYTES):
            self._frames_of_piece = 0
            super().data_received(data[start : start + PIECE_BYTES])
            if self._is_flooded():
                self.transport.abort()
                break
        self._spent_s += time.thread_time() - began_s

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if isinstance(event, Frame):
            self._count(event)

    def _count(self, frame: Frame) -> None:
        self._frames_of_piece += 1
        if frame.opcode in CTRL_OPCODES:
            second = int(time.monotonic())
            is_same = second == self._second
            self._second, self._control_frames = second, self._control_frames * is_same + 1
        elif frame.fin:
            self._fragments = 0
        else:
            self._fragments += 1

    def _is_flooded(self) -> bool:
        return (
            self._frames_of_piece > MOST_FRAMES_OF_PIECE
            or self._fragments > MOST_FRAGMENTS
            or self._control_frames > MOST_CONTROL_FRAMES_PER_S
        )


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
