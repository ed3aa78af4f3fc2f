"""The login of browsers: a page with a form, and a cookie for a key.

Rule: the page has no script and nothing from elsewhere, and repeats nothing that was typed. The
cookie is out of the reach of scripts and is not sent along from pages of other sites.
"""

from __future__ import annotations

import html
import re
import time
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

from everfold.web.access.request_head import COOKIE
from everfold.web.access.sessions import LOGIN_S
from everfold.web.bodies import read_body
from everfold.web.caller import EVERYBODY
from everfold.web.operation import Call
from everfold.web.problem import Problem

FORM_LIMIT_BYTES = 8 * 1024

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Everfold</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 }}
main {{ max-width: 26em; margin: 15vh auto; padding: 0 1em }}
input, button {{ font: inherit; width: 100%; padding: .5em; margin: .3em 0 }}
input {{ box-sizing: border-box }}
p[role=alert] {{ font-weight: 600 }}
</style></head><body><main><h1>Everfold</h1>
<form method="post" action="{action}">
<label>Key <input name="key" type="password" autocomplete="current-password" required autofocus>
</label><input type="hidden" name="next" value="{next}"><button>Log in</button></form>
{told}<p>An operator makes keys with <code>everfold keys add NAME --user USER</code>.</p>
</main></body></html>
"""

_PLACE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path on this gateway: printable, and not one that a browser takes for another host."""


async def get_login(call: Call) -> Response:
    """Show the form; where there are no keys, go on to the page."""
    place = call.request.query_params.get("next", "")
    if call.caller == EVERYBODY:
        return RedirectResponse(_checked(call, place), 303)
    return _page(call, place)


async def post_login(call: Call) -> Response:
    """Log in with a key, and go on to the page that was wanted."""
    body = await read_body(call, FORM_LIMIT_BYTES)
    try:
        form = parse_qs(body.decode(), max_num_fields=10)
    except ValueError as error:
        raise Problem(400, "invalid_request", "the form cannot be read") from error
    shown, place = form.get("key", [""])[0].strip(), form.get("next", [""])[0]
    doorkeeper = call.gateway.doorkeeper
    found = await doorkeeper.keys.find(shown)
    if found is None:
        return _page(call, place, "This key is not one of this gateway.", 401)
    wait_s = doorkeeper.logins.take(found[0], 0.2, 10, time.monotonic())
    if wait_s:
        raise Problem(429, "rate_limited", "too many logins of this key", retry_after_s=wait_s)
    token = await doorkeeper.sessions.begin(found[0])
    answer = RedirectResponse(_checked(call, place), 303)
    _set_cookie(call, answer, token, LOGIN_S)
    return answer


async def post_logout(call: Call) -> Response:
    """End the login, for every copy of its cookie."""
    if token := call.request.cookies.get(COOKIE, ""):
        await call.gateway.doorkeeper.sessions.end(token)
    answer = RedirectResponse(f"{_prefix(call)}/login", 303)
    _set_cookie(call, answer, "", 0)
    return answer


def _set_cookie(call: Call, answer: Response, token: str, max_age_s: int) -> None:
    answer.set_cookie(
        COOKIE,
        token,
        max_age_s,
        path=_prefix(call) or "/",
        secure=call.request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _page(call: Call, place: str, told: str = "", status: int = 200) -> Response:
    text = _PAGE.format(
        action=html.escape(f"{_prefix(call)}/login"),
        next=html.escape(_checked(call, place)),
        told=f'<p role="alert">{html.escape(told)}</p>' if told else "",
    )
    return HTMLResponse(text, status, PAGE_HEADERS)


def _checked(call: Call, place: str) -> str:
    """Return where to go on: a path here, else the first page."""
    return place if _PLACE.fullmatch(place) and len(place) < 2_000 else f"{_prefix(call)}/"


def _prefix(call: Call) -> str:
    return str(call.request.scope.get("root_path") or "")
