"""Absolute addresses of what a gateway serves, as the client that asks can reach it."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def base_url(request: HTTPConnection) -> str:
    """Return the gateway's address without a slash at its end, such as https://studio.example/ai.

    It is the one by which this request came: through trusted proxies, and under the path where an
    application has mounted the gateway.
    """
    scheme = {"ws": "http", "wss": "https"}.get(request.url.scheme, request.url.scheme)
    return f"{scheme}://{request.url.netloc}{request.scope.get('root_path') or ''}"
