"""Answers that cost memory and time, and what reading one of them costs a process.

python -m tests.comfyui.hostile.large_answers NAME: prints a Cost as JSON. The server is
another process.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import repeat

import anyio
import msgspec
from msgspec import Struct

from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.forked_server import TICK_S, forked_server, metered

P = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
EMPTY_QUEUE = b'{"queue_running": [], "queue_pending": []}'
HISTORY = b'{"%b": {"prompt": [0, "%b", {}, {}, ["1"]], "outputs": {"1": ' % (
    P.encode(),
    P.encode(),
)
HISTORY_END = b'}, "status": {"status_str": "success", "completed": true, "messages": []}}}'


class Cost(Struct, frozen=True):
    """What `truth` cost: by CPU time, so that a busy machine makes no difference."""

    peak_mib: float
    """Growth of the peak of resident memory."""
    stall_s: float
    """The longest that the event loop did one thing."""
    truth: str


class Answers(Struct, frozen=True):
    """The bodies of GET /queue and of GET /history/{id}, in pieces."""

    queue: Callable[[], Iterator[bytes]] = lambda: iter([EMPTY_QUEUE])
    history: Callable[[], Iterator[bytes]] = lambda: iter([b"{}"])
    headers: bytes = b""


def history_of(output: bytes) -> bytes:
    """Return the history of P, which has succeeded with this output of node 1."""
    return HISTORY + output + HISTORY_END


def _filled(begin: bytes, filling: bytes, size_bytes: int, end: bytes) -> Iterator[bytes]:
    yield begin
    piece = filling * (2**16 // len(filling))
    yield from repeat(piece, size_bytes // len(piece))
    yield end


def _history(filling: bytes, mib: int, begin: bytes = b'{"x": [') -> Answers:
    pieces = lambda: _filled(HISTORY + begin, filling, mib * 2**20, b"0]}" + HISTORY_END)  # noqa: E731
    return Answers(history=pieces)


def _queue(filling: bytes, mib: int) -> Answers:
    begin, end = b'{"queue_running": [], "queue_pending": [', b'[1, "x"]]}'
    return Answers(queue=lambda: _filled(begin, filling, mib * 2**20, end))


def _in_tiny_chunks() -> Iterator[bytes]:
    yield from repeat(b"1\r\n \r\n" * 10_000, 1_000)


COSTLY = {
    "history of 100 MB of small objects": _history(b"{},", 100),
    "history of 60 MB of small objects": _history(b"{},", 60),
    "history of 40 MB of small objects and a NaN": _history(b"{},", 39, b'{"x": [NaN, '),
    "history of 60 MB of keys": _history(b'"a":1,', 60, b'{"x": [{'),
    "history of 60 MB of numbers": _history(b"1.5,", 60),
    "history of 60 MB of brackets": _history(b"[", 60),
    "queue of 15 MB of prompts": _queue(b'[1,"x"],', 15),
    "queue of 15 MB of objects": _queue(b'[1,"x",{"a":{}}],', 15),
    "queue of 15 MB of brackets": _queue(b"[", 15),
    "history as large as is read": _history(b"{},", 5),
    "odd history as large as is read": _history(b'"\\ud800",', 4, b'{"x": [NaN, '),
    "queue as large as is read": _queue(b'[1,"x"],', 10),
    "queue of 100 MB": _queue(b'[1,"x"],', 100),
    "queue in tiny chunks": Answers(
        queue=_in_tiny_chunks, headers=b"Transfer-Encoding: chunked\r\n"
    ),
}


def serving(answers: Answers) -> AbstractContextManager[str]:
    """Yield the URL of a process that answers so until the context ends."""
    return forked_server(lambda connection, request: _answer(connection, request, answers))


def _answer(connection: socket.socket, request: bytes, answers: Answers) -> None:
    pieces = answers.queue() if request.startswith(b"GET /queue") else answers.history()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n" % answers.headers)
    for piece in pieces:
        connection.sendall(piece)


async def cost_of(url: str) -> Cost:
    """Ask for the truth once and return what it cost this process."""
    backend = ComfyBackend(url, timeout_s=60.0)
    async with metered() as meter:
        truth = await backend.truth(P, "")
        await anyio.sleep(2 * TICK_S)
        await backend.aclose()
    return Cost(meter.peak_mib, meter.stall_s, repr(truth)[:300])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with serving(COSTLY[name]) as url:
            print(msgspec.json.encode(anyio.run(cost_of, url)).decode(), flush=True)
