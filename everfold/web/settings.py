"""What a gateway is told when it is made."""

from __future__ import annotations

from msgspec import Struct

MIB = 1024 * 1024


class WebSettings(Struct, frozen=True, kw_only=True):
    """Settings of one gateway; each has a default that suits one machine."""

    front_end: str = ""
    """Folder of ComfyUI's web front end on this machine; empty: an installed package, if any."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of pages on other hosts that may call, such as https://studio.example."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which it is reached, besides addresses and localhost; empty: any, with keys."""
    body_limit_bytes: int = 16 * MIB
    """The largest body but for files."""
    upload_limit_bytes: int = 1024 * MIB
    """The largest file that may be sent."""
    kept_s: float = 7200.0
    """Seconds that a projector keeps the state of a job that has ended: clients are told of it."""
