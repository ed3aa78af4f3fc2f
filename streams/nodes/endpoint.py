"""Where a server listens.

Rule: pure, and it loads no library but msgspec.
"""

from __future__ import annotations

from msgspec import Struct


class Endpoint(Struct, frozen=True, order=True):
    """A host by name or address, without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def endpoint(host: str, port: object) -> Endpoint | None:
    """Return it, None where a server's answer names none that can be connected to."""
    text = str(port)
    if not host or not host.isprintable() or not (text.isascii() and text.isdigit()):
        return None
    if len(host) > 255 or len(text) > 5 or not 1 <= int(text) <= 65535:
        return None
    return Endpoint(host, int(text))
