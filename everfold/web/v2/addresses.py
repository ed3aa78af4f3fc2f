"""Where the Comfy API v2 is, as the client that asks has reached it.

Rule: addresses are absolute, with the host that the client named and the path below which
the gateway is mounted, so that they lead back the same way.
"""

from __future__ import annotations

from starlette.requests import Request

PREFIX = "/api/v2"


def base_of(request: Request) -> str:
    """Return the address of the API for this client, without a slash at its end."""
    url, mounted_at = request.url, str(request.scope.get("root_path", "")).rstrip("/")
    return f"{url.scheme}://{url.netloc}{mounted_at}{PREFIX}"
