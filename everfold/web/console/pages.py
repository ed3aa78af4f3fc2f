"""What a browser gets at /console: one page for all screens, a script, a style sheet and an icon.

Rule: a page may load and ask only what this gateway serves; no text of anybody becomes a script.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from functools import lru_cache
from importlib.resources import files

from msgspec import Struct
from starlette.responses import Response

from everfold.web.files.byte_ranges import names_etag
from everfold.web.operation import Call, Operation

UNDER = "/console"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

PAGE = "index.html"

MEDIA_TYPES = {
    PAGE: "text/html; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


PREFIXES_LIMIT = 4
"""Below so many paths one gateway is usual; a page of a further one is made anew."""


class _File(Struct, frozen=True):
    content: bytes
    packed: bytes
    etag: str


@lru_cache(PREFIXES_LIMIT + len(MEDIA_TYPES))
def _file(name: str, prefix: str = "") -> _File:
    content = files(__package__).joinpath("static", name).read_bytes()
    if name == PAGE:
        content = content.replace(b"/console/", f"{html.escape(prefix)}/console/".encode())
    etag = hashlib.sha256(content).hexdigest()[:20]
    return _File(content, gzip.compress(content, mtime=0), etag)


async def get_page(call: Call) -> Response:
    """Answer with a file of the console; each other path below it is a screen of the page."""
    name = str(call.request.path_params.get("path", ""))
    if name not in MEDIA_TYPES:
        name = PAGE
    file = _file(name, str(call.request.scope.get("root_path") or "") if name == PAGE else "")
    headers = {**HEADERS, "ETag": f'"{file.etag}"'}
    if names_etag(call.request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    body = file.content
    if "gzip" in call.request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(body, headers=headers, media_type=MEDIA_TYPES[name])


CONSOLE: tuple[Operation, ...] = tuple(
    Operation(
        method="GET", path=path, answer=get_page, name=name, role="reader",
        answers={200: "text/html"}, summary="Return the console, or a file of it.",
    )
    for name, path in (("console", UNDER), ("console_file", f"{UNDER}/{{path:text}}"))
)  # fmt: skip
