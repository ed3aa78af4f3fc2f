"""Asks whether one process works: its own address, or Redis whether it was heard of.

Rule: every answer comes within WITHIN_S, and is one line of text that cannot act on a terminal.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from socket import gaierror
from urllib.parse import urlsplit

from msgspec import Struct

from everfold.streams.border.text import for_terminal
from everfold.streams.errors import Misconfigured
from everfold.streams.events.json_text import NotJson, decoder

WITHIN_S = 0.8
ANSWER_BYTES = 64 * 1024
LINE_LIMIT = 300


class Health(Struct, frozen=True, kw_only=True):
    """Whether a process works, in one line."""

    is_healthy: bool
    what: str
    """What was asked."""
    found: str


async def ask_address(url: str, path: str) -> Health:
    """Ask a process at http(s)://host:port. Raises Misconfigured for what is no such address."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Misconfigured(f"{url!r} is no address: write http://127.0.0.1:9100") from error
    if parts.scheme not in ("http", "https") or not host:
        raise Misconfigured(f"{url!r} is no address: write http://127.0.0.1:9100")
    path = parts.path if parts.path.strip("/") else path
    what = f"{parts.scheme}://{host}:{port}{path}"
    try:
        async with asyncio.timeout(WITHIN_S):
            status, body = await _get(host, port, path, is_tls=parts.scheme == "https")
    except TimeoutError:
        return Health(is_healthy=False, what=what, found=f"has not answered in {WITHIN_S:g} s")
    except gaierror as error:  # its number is no errno
        found = f"cannot be asked: no machine is known as {host} ({error.strerror})"
        return Health(is_healthy=False, what=what, found=found)
    except (OSError, ValueError, IndexError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number else "does not answer as it should"
        return Health(is_healthy=False, what=what, found=f"cannot be asked: {why}")
    said = _said(body) if status in (200, 503) else ""
    found = said or ("works" if status == 200 else f"answers {status}")
    return Health(is_healthy=status == 200, what=what, found=found)


async def _get(host: str, port: int, path: str, *, is_tls: bool) -> tuple[int, bytes]:
    context = ssl.create_default_context() if is_tls else None
    if context is not None:  # it is asked on this machine, by an address that no certificate has
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=ANSWER_BYTES)
    try:
        named = f"[{host}]" if ":" in host else host
        head = f"GET {path} HTTP/1.1\r\nHost: {named}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("ascii", "replace"))
        await writer.drain()
        answer = b""
        while len(answer) < ANSWER_BYTES and (part := await reader.read(ANSWER_BYTES)):
            answer += part
        head_of_answer, _, body = answer.partition(b"\r\n\r\n")
        if not head_of_answer.startswith(b"HTTP/1."):
            raise ValueError("no answer of HTTP")
        return int(head_of_answer.split()[1]), body
    finally:
        writer.transport.abort()


class _Told(Struct):
    is_ready: bool = True
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_read_told = decoder(_Told)


def _said(body: bytes) -> str:
    """Return the sentences of an answer of /readyz as one line, empty for none."""
    start, end = body.find(b"{"), body.rfind(b"}")
    try:
        told = _read_told(body[start : end + 1])
    except NotJson:
        return ""
    text = "; ".join((*told.missing, *(f"note: {note}" for note in told.notes)))
    return for_terminal(text)[:LINE_LIMIT].replace("\n", " ")
