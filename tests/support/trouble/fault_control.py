"""A fault proxy as a program of its own, told what to do over a socket, one JSON object a line.

    {"do": "swallow_replies", "count": 1, "containing": "EVALSHA"}     -> {"ok": true, ...}

The commands are the proxy's methods, `latency` and `throttle`; each answer carries the counts.
The first line on standard output is a JSON object with `url` and `control` (host:port).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.trouble.fault_proxy import FaultProxy

LINE_LIMIT_BYTES = 65536


class Command(msgspec.Struct, frozen=True):
    """What the proxy does; a command uses only the values that it needs."""

    do: str
    count: int = 1
    containing: str = ""
    latency_s: float = 0.0
    bytes_per_s: int | None = None
    requests: bool = True
    replies: bool = True


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    error: str = ""
    connections: int
    accepted: int
    hits: int
    """How many requests rules have hit so far."""


async def execute(proxy: FaultProxy, command: Command) -> None:
    """Apply one command to the proxy; ValueError for an unknown one."""
    match command.do:
        case "swallow_replies":
            proxy.swallow_replies(command.count, command.containing.encode())
        case "drop_requests":
            proxy.drop_requests(command.count, command.containing.encode())
        case "black_hole":
            proxy.black_hole(requests=command.requests, replies=command.replies)
        case "latency":
            proxy.latency_s = command.latency_s
        case "throttle":
            proxy.bytes_per_s = command.bytes_per_s
        case "cut":
            proxy.cut()
        case "refuse":
            await proxy.refuse()
        case "accept":
            await proxy.accept()
        case "heal":
            await proxy.heal()
        case "count":
            pass
        case _:
            raise ValueError(f"unknown command {command.do!r}")


def answering(proxy: FaultProxy) -> Callable[[ByteStream], Awaitable[None]]:
    """Return what serves one control connection."""

    async def serve(stream: ByteStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        async with stream:
            while True:
                try:
                    line = await lines.receive_until(b"\n", LINE_LIMIT_BYTES)
                except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                await stream.send(msgspec.json.encode(await _answer(proxy, line)) + b"\n")

    return serve


async def _answer(proxy: FaultProxy, line: bytes) -> Answer:
    error = ""
    try:
        await execute(proxy, msgspec.json.decode(line, type=Command))
    except (ValueError, msgspec.DecodeError) as wrong:
        error = str(wrong)
    return Answer(
        ok=not error,
        error=error,
        connections=proxy.connections,
        accepted=proxy.accepted,
        hits=proxy.hits,
    )


async def run(listen: str, to: str, control_port: int) -> None:
    """Pass on from `listen` to `to` and execute commands options until the process is ended."""
    host, _, port = listen.rpartition(":")
    control = await anyio.create_tcp_listener(local_host=host, local_port=control_port)
    async with FaultProxy(to, host=host, port=int(port)) as proxy:
        at = control.extra(SocketAttribute.local_port)
        print(json.dumps({"url": proxy.url, "control": f"{host}:{at}"}), flush=True)
        await control.serve(answering(proxy))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A proxy to Redis that fails on demand.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--to", required=True, metavar="URL")
    parser.add_argument("--control", type=int, default=0, metavar="PORT")
    options = parser.parse_args(arguments)
    try:
        anyio.run(run, options.listen, options.to, options.control)
    except KeyboardInterrupt:
        sys.exit(0)
