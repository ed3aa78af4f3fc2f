"""What a browser gets: the front end's files, or a page of Everfold's own where there is none."""

from __future__ import annotations

import re
from importlib.resources import files

from starlette.responses import HTMLResponse, Response

from everfold.web.comfyui.front_end.installed import INDEX
from everfold.web.comfyui.front_end.static_files import SAFE, file_answer
from everfold.web.operation import Call
from everfold.web.problem import Problem


async def get_root(call: Call) -> Response:
    """Answer with the front end's page, or with Everfold's own."""
    front_end = call.gateway.front_end
    if front_end is not None:
        answer = await file_answer((front_end,), INDEX, call.request.headers)
        if answer is not None:
            return answer
    page = files(__package__).joinpath("no_front_end.html").read_text(encoding="utf-8")
    return HTMLResponse(page, headers={**SAFE, "Cache-Control": "no-cache"})


async def get_file(call: Call) -> Response:
    """Answer with a file of the front end."""
    front_end, path = call.gateway.front_end, call.request.path_params["path"]
    answer = None
    if front_end is not None:
        answer = await file_answer((front_end,), path, call.request.headers)
    if answer is None:
        raise Problem(404, "not_found", "there is nothing at this address")
    return answer


async def get_template(call: Call) -> Response:
    """Answer with a workflow template, or a picture of it; none are listed where none are
    installed."""
    path = call.request.path_params["path"]
    answer = await file_answer(call.gateway.templates, path, call.request.headers)
    if answer is not None:
        return answer
    if re.fullmatch(r"index(\.[\w-]+)?\.json", path):
        return Response(b"[]", media_type="application/json")
    if path == "index_logo.json":
        return Response(b"{}", media_type="application/json")
    raise Problem(404, "not_found", "there is no such workflow template here")
