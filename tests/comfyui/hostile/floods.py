"""Websockets that flood their client, and what watching one of them costs a process.

python -m tests.comfyui.hostile.floods NAME: prints a Cost as JSON. The server is another process.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count, repeat

import anyio
import msgspec
from msgspec import Struct

from everfold.runner.backend import Attempt
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.forked_server import forked_server, metered
from tests.comfyui.hostile.large_answers import P
from tests.comfyui.hostile.test_hostile_server import upgrade

WORKFLOW = (
    b'{"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "S", "inputs": {"a": ["1", 0]}}}'
)
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id="client-1")
WATCHED_S, END_WITHIN_S = 4.0, 30.0
PROMISED_PER_S = 10_000


class Cost(Struct, frozen=True):
    """By CPU time, so that a busy machine makes no difference."""

    cpu_share: float
    """Of one core, while the flood was watched."""
    stall_s: float
    """The longest that the event loop did one thing."""
    peak_mib: float
    """Growth of the peak of resident memory."""
    has_ended: bool
    """The end that follows the flood was seen."""


def frame(kind: str, **data: object) -> bytes:
    return text(json.dumps({"type": kind, "data": {"prompt_id": P, **data}}).encode())


def text(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes([size]) + payload
    short = size < 2**16
    return b"\x81" + (b"\x7e" if short else b"\x7f") + size.to_bytes(2 if short else 8) + payload


ENDING = (
    frame("executed", node="2", output={"images": []})
    + frame("execution_success")
    + frame("executing", node=None)
)


def _promised() -> Iterator[bytes]:
    """Ten thousand frames in a second, and the end."""
    began_s = time.monotonic()
    for number in range(PROMISED_PER_S // 100):
        yield b"".join(frame("progress", node="1", value=i, max=100) for i in range(100))
        late_s = began_s + number * 100 / PROMISED_PER_S - time.monotonic()
        time.sleep(max(0.0, late_s))
    yield ENDING
    time.sleep(60)


def _progress_states(size: int) -> Iterator[bytes]:
    for number in count():
        nodes = {f"{number}.{i}": {"value": 1, "max": 2, "state": "finished"} for i in range(size)}
        yield frame("progress_state", nodes=nodes)


def _large(filling: str) -> Iterator[bytes]:
    values = filling * (15 * 2**20 // len(filling))
    message = '{"type":"executed","data":{"prompt_id":"%s","node":"2","output":{"x":[%s0]}}}'
    yield from repeat(text((message % (P, values)).encode()))


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "promised": _promised,
    "progress": lambda: repeat(frame("progress", node="1", value=1, max=2) * 1000),
    "steps": lambda: (frame("progress", node="1", value=i, max=1e308) for i in count()),
    "nodes": lambda: (frame("executed", node=f"n{i}", output={"x": [i]}) for i in count()),
    "large nodes": lambda: (
        frame("executed", node=f"n{i}", output={"x": "x" * 10**6}) for i in count()
    ),
    "long names": lambda: (frame("executing", node=f"{i}" * 10**5) for i in count()),
    "states": lambda: _progress_states(5000),
    "cached": lambda: (
        frame("execution_cached", nodes=[f"{i}.{n}" for n in range(9000)]) for i in count()
    ),
    "starts": lambda: repeat(frame("execution_start") * 1000),
    "garbage": lambda: repeat(text(b"x" * 40) * 1000),
    "tiny": lambda: repeat(text(b"x") * 10_000),
    "empty": lambda: repeat(b"\x81\x00" * 10_000),
    "pings": lambda: repeat(b"\x89\x00" * 10_000),
    "long pings": lambda: repeat((b"\x89\x7d" + b"x" * 125) * 1000),
    "pongs": lambda: repeat(b"\x8a\x00" * 10_000),
    "empty fragments": lambda: iter([b"\x01\x00", *[b"\x00\x00" * 10_000] * 10**4]),
    "small fragments": lambda: iter([b"\x01\x01x", *[(b"\x00\x14" + b"x" * 20) * 1000] * 10**4]),
    "fragments and pings": lambda: iter(
        [b"\x01\x01x", *[(b"\x00\x01x" + b"\x89\x7d" + b"x" * 125) * 1000] * 10**4]
    ),
    "large objects": lambda: _large("{},"),
    "large texts": lambda: _large('"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",'),
    "large NaN": lambda: _large("NaN,"),
}


def _flood(connection: socket.socket, request: bytes, frames: Iterator[bytes]) -> None:
    if request.startswith(b"GET /ws"):
        connection.sendall(upgrade(request))
        for piece in frames:
            connection.sendall(piece)


def flooding(name: str) -> AbstractContextManager[str]:
    """Yield the URL of a process whose websockets flood so until the context ends."""
    return forked_server(lambda connection, request: _flood(connection, request, FLOODS[name]()))


async def cost_of(url: str, within_s: float) -> Cost:
    """Watch a prompt, for WATCHED_S or until it has ended, and return what that cost."""
    backend, has_ended = ComfyBackend(url), False
    async with metered() as meter:
        async with backend.observe(ATTEMPT, WORKFLOW) as observation:
            began_s, cpu_s = time.monotonic(), time.process_time()
            while not has_ended and time.monotonic() - began_s < within_s:
                has_ended = (await observation.next(0.1)).succeeded
            share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
        await backend.aclose()
    return Cost(share, meter.stall_s, meter.peak_mib, has_ended)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with flooding(name) as url:
            cost = anyio.run(cost_of, url, END_WITHIN_S if name == "promised" else WATCHED_S)
            print(msgspec.json.encode(cost).decode(), flush=True)
