"""From which pages and under which names a gateway may be called: Host, Origin and CORS.

Rule: it decides by the head alone. A page of another site can make a browser send anything but
these headers. What would change something needs an origin that is the gateway's own or listed, and
without keys the gateway answers only to names that no stranger can point at it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from everfold.web.access.request_head import RequestHead, address_of, is_loopback
from everfold.web.problem import Problem

ALL = "*"

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")

SHOWN_HEADERS = (
    "X-Comfy-Request-Id, Retry-After, Location, Content-Range, Content-Disposition, ETag"
)
ASKED_HEADERS = (
    "Authorization, X-API-Key, Content-Type, Idempotency-Key, Last-Event-ID, Range, Comfy-User, "
    "If-None-Match, Cache-Control, Everfold-Callback, traceparent"
)


def host_problem(head: RequestHead, allowed: Sequence[str], *, has_keys: bool) -> Problem | None:
    """Say why a request may not call the gateway by this name, None where it may."""
    found = _HOST.fullmatch(head.header("host"))
    if found is None:
        return Problem(400, "invalid_host", "the request has no Host header that names a host")
    name = found["name"].lower().rstrip(".")
    if any(_is_name(name, one.lower()) for one in allowed):
        return None
    is_address = address_of(name) is not None
    if _is_local(name) or (has_keys and (is_address or not allowed)):
        return None
    return Problem(
        403,
        "host_not_allowed",
        "the gateway is not called by this name: see --allow-host"
        + ("" if has_keys else ", or add keys"),
    )


def _is_local(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def _is_name(name: str, allowed: str) -> bool:
    """Say whether a name is an allowed one; `.example.com` allows all names below it."""
    return name == allowed or (allowed.startswith(".") and name.endswith(allowed))


def is_same_origin(head: RequestHead) -> bool:
    """Say whether a page of the gateway itself asks, as far as the headers tell.

    A program that is no browser sends neither header, and is not asked by a page.
    """
    origin = head.header("origin")
    if origin:
        scheme, separator, place = origin.lower().partition("://")
        own = _with_port(head.header("host").lower(), scheme)
        return bool(separator) and _with_port(place, scheme) == own
    return head.header("sec-fetch-site") in ("same-origin", "none", "")


def _with_port(place: str, scheme: str) -> str:
    has_port = place.rpartition(":")[2].isdigit() and not place.endswith("]")
    return place if has_port else f"{place}:{443 if scheme == 'https' else 80}"


def is_listed(head: RequestHead, allowed: Sequence[str]) -> bool:
    """Say whether the page that asks is of a listed origin."""
    origin = head.header("origin")
    return bool(origin) and (ALL in allowed or origin in allowed)


def origin_problem(head: RequestHead, allowed: Sequence[str]) -> Problem | None:
    """Say why the page that asks may not, None where it may, or where no page asks."""
    if is_listed(head, allowed) or is_same_origin(head):
        return None
    is_foreign = head.header("sec-fetch-site") == "cross-site"
    if head.is_unsafe or (is_foreign and not _is_visit(head)):
        return Problem(
            403,
            "origin_not_allowed",
            "a page of another origin may not call the gateway: see --allow-origin",
        )
    return None


def _is_visit(head: RequestHead) -> bool:
    """Say whether a person follows a link to here."""
    is_whole = head.header("sec-fetch-dest") in ("document", "")
    return head.header("sec-fetch-mode") == "navigate" and is_whole


def cookie_counts(head: RequestHead) -> bool:
    """Say whether a login in a cookie may be believed: only what the gateway's own pages send."""
    if head.is_unsafe:
        has_said = head.header("origin") or head.header("sec-fetch-site") == "same-origin"
        return bool(has_said) and is_same_origin(head)
    return is_same_origin(head) or _is_visit(head)


def is_preflight(head: RequestHead) -> bool:
    """Say whether a browser asks whether a page may ask."""
    return head.method == "OPTIONS" and "access-control-request-method" in head.headers


def cors_headers(head: RequestHead, allowed: Sequence[str]) -> dict[str, str]:
    """Return what lets a page of a listed origin read the answer."""
    if not allowed:
        return {}
    if not is_listed(head, allowed) or is_same_origin(head):
        return {"Vary": "Origin"}
    shown = {
        "Access-Control-Allow-Origin": head.header("origin"),
        "Access-Control-Expose-Headers": SHOWN_HEADERS,
        "Vary": "Origin",
    }
    if not is_preflight(head):
        return shown
    if head.header("access-control-request-private-network") == "true":
        shown["Access-Control-Allow-Private-Network"] = "true"
    return {
        **shown,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": ASKED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
