"""Many ComfyUI servers at one port, each of which answers one of its routes strangely.

Rule: server N has its routes below the path /N. All of its other answers are sound: it takes each
prompt, and says at once that it has succeeded. GET /report tells what was asked.

python -m tests.support.trouble.strange_server
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from contextlib import suppress

import anyio
import msgspec
from msgspec import Struct

from tests.comfyui.hostile.floods import FLOODS
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.hostile.test_hostile_server import DEEP, FRAMES, HUGE, upgrade

REQUEST = re.compile(rb"(\w+) /(\d+)(/[^ ?]*)(?:\?(\S*))? ")
UPLOAD = re.compile(rb'filename="([^"]+)"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)
TRICKLE_S = 1.0


class Answer(Struct, frozen=True):
    """What comes in place of a sound answer; `raw` bytes stand for the whole of it."""

    status: int = 200
    body: bytes = b""
    headers: bytes = b""
    raw: bytes | None = None
    trickles: bool = False
    """One byte a second."""
    is_endless: bool = False
    """The raw bytes come again and again."""
    hangs: bool = False
    """Nothing follows, and the connection stays."""


class Case(Struct, frozen=True):
    """One server: the beginning of a route, after its method, and the answer of that route."""

    route: str
    answer: Answer


class Report(Struct):
    posted: dict[str, int] = {}
    """Prompt id -> how often it was sent."""
    asked: set[int] = set()
    """Cases whose strange route was asked for."""


class StrangeServers:
    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.report = Report()
        self._files: dict[tuple[int, bytes], bytes] = {}

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request and close the connection."""
        await exchange.read_request()
        if exchange.received.startswith(b"GET /report "):
            await exchange.answer(200, msgspec.json.encode(self.report), b"Connection: close\r\n")
        found = REQUEST.match(exchange.received)
        if found is None:
            return
        method, number, path, query = (part or b"" for part in found.groups())
        case = self.cases[int(number)]
        is_strange = f"{method.decode()} {path.decode()}".startswith(case.route)
        sound = self._sound(int(number), path, query, exchange.body)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            if is_strange:
                self.report.asked.add(int(number))
                await _send_strange(exchange, case.answer)
            elif path == b"/ws":
                await exchange.stream.send(upgrade(exchange.received))
                await anyio.sleep_forever()
            else:
                await exchange.answer(*sound, b"Connection: close\r\n")

    def _sound(self, number: int, path: bytes, query: bytes, body: bytes) -> tuple[int, bytes]:
        if path == b"/queue":
            return 200, b'{"queue_running": [], "queue_pending": []}'
        if path == b"/system_stats":
            return 200, b'{"system": {"comfyui_version": "0.3.64"}}'
        if path == b"/prompt":
            prompt_id = str(json.loads(body)["prompt_id"])
            self.report.posted[prompt_id] = self.report.posted.get(prompt_id, 0) + 1
            accepted = {
                "prompt_id": prompt_id,
                "number": len(self.report.posted),
                "node_errors": {},
            }
            return 200, json.dumps(accepted).encode()
        if path.startswith(b"/history/"):
            prompt_id = path.removeprefix(b"/history/").decode()
            entry = {"outputs": {}, "status": {"status_str": "success", "messages": []}}
            return 200, json.dumps(
                {prompt_id: entry} if prompt_id in self.report.posted else {}
            ).encode()
        if path == b"/upload/image" and (found := UPLOAD.search(body)):
            self._files.setdefault((number, found[1]), found[2])
            return 200, b"{}"
        name = re.search(rb"filename=([^&]+)", query)
        content = self._files.get((number, name[1] if name else b""))
        return (200, content) if content is not None else (404, b"")


async def _send_strange(exchange: Exchange, answer: Answer) -> None:
    is_socket = exchange.received.startswith(b"GET") and b"sec-websocket-key" in (
        exchange.received.lower()
    )
    if answer.raw is not None:
        if is_socket and not answer.raw.startswith(b"HTTP/"):
            await exchange.stream.send(upgrade(exchange.received))
        await exchange.stream.send(answer.raw)
        while answer.is_endless:
            await exchange.stream.send(answer.raw)
    elif answer.trickles:
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await exchange.stream.send(b" ")
            await anyio.sleep(TRICKLE_S)
    elif not answer.hangs:
        headers = answer.headers + b"Connection: close\r\n"
        await exchange.answer(answer.status, answer.body, headers)
    if answer.hangs:
        await anyio.sleep_forever()


ELSEWHERE = b"Location: http://[/\r\n"
ANSWERS = [
    *(Answer(body=body) for body in (b"", b"null", b"[]", b"{", b"\xff", HUGE, DEEP)),
    *(Answer(status=status, body=b"{}") for status in (204, 401, 404, 429, 500, 503)),
    *(Answer(status=status, headers=ELSEWHERE) for status in (301, 307)),
    Answer(body=b'{"queue_running": [[%b, "x"]], "queue_pending": [{}]}' % HUGE),
    Answer(body=gzip.compress(bytes(2**24)), headers=b"Content-Encoding: gzip\r\n"),
    *(Answer(raw=raw) for raw in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"\x00")),
    Answer(trickles=True),
    Answer(hangs=True),
]
ROUTES = ["GET /queue", "GET /history", "POST /prompt", "GET /system_stats"]
SOCKETS = [
    *(Answer(raw=frame) for frame in FRAMES),
    *(Answer(status=302, headers=ELSEWHERE), Answer(hangs=True)),
    *(Answer(raw=next(FLOODS[name]()), is_endless=True) for name in ("progress", "pings", "tiny")),
]
CASES = [
    *(Case(route, answer) for route in ROUTES for answer in ANSWERS),
    *(Case("GET /ws", answer) for answer in SOCKETS),
]


async def main() -> None:
    async with raw_server(StrangeServers(CASES).serve) as server:
        print(f"listening on {server.url}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
