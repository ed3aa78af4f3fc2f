"""The front end's files of a user: graphs that it saved, templates of nodes, keys of the keyboard.

Rule: a file's name is data. It is shown to nobody but its user, and never runs as a page.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.responses import Response

from everfold.streams.errors import InvalidName
from everfold.streams.events.limits import USER_FILE_LIMIT_BYTES
from everfold.streams.user_files.user_file import UserFile, user_path
from everfold.streams.user_files.user_files import (
    list_user_files,
    move_user_file,
    read_user_file,
    remove_user_file,
    write_user_file,
)
from everfold.web.bodies import json_answer, read_body
from everfold.web.comfyui.front_end.shapes import entries, file_info, listed
from everfold.web.operation import Call
from everfold.web.problem import Problem

USER_STYLE = "user.css"
EMPTY = {USER_STYLE: b"", "comfy.templates.json": b"[]", "workflows/.index.json": b"{}"}
"""What the front end reads at each start, and what is in it before its user has written it."""

_SHOWN_AS = {"json": "application/json", "css": "text/css"}
"""By a file's suffix; what is not listed is only bytes."""

_PREFIX = b"/userdata/"


async def get_listing(call: Call) -> Response:
    """List the files of a folder; a folder that nobody wrote to is empty."""
    asked = call.request.query_params
    if not asked.get("dir"):
        raise Problem(400, "dir_missing", "name the folder: ?dir=workflows")
    folder = "" if asked["dir"].strip("./") == "" else _path(asked["dir"])
    files = await list_user_files(call.gateway.everfold.log, call.caller.user)
    rows = listed(files, folder, recurse=_is_true(call, "recurse"))
    if _is_true(call, "full_info"):
        return json_answer([file_info(file, path) for file, path in rows])
    if _is_true(call, "split"):
        return json_answer([[path, *path.split("/")] for _, path in rows])
    return json_answer([path for _, path in rows])


async def get_entries(call: Call) -> Response:
    """List files and folders, as the newer listing of ComfyUI does."""
    asked = call.request.query_params.get("path", "")
    folder = _path(asked) if asked.strip("./") else ""
    files = await list_user_files(call.gateway.everfold.log, call.caller.user)
    found = entries(files, folder)
    if folder and not found:
        if any(file.path == folder for file in files):
            raise Problem(400, "no_folder", f"{folder} is a file")
        raise Problem(404, "not_found", f"there is no folder {folder}")
    return json_answer(found)


async def get_user_file(call: Call) -> Response:
    """Answer with a file, which a browser never shows as a page of this address."""
    path = _path("/".join(_parts(call)))
    content = await read_user_file(call.gateway.everfold.log, call.caller.user, path)
    content = EMPTY.get(path) if content is None else content
    if content is None:
        raise Problem(404, "not_found", f"there is no file {path}")
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "inline" if path == USER_STYLE else "attachment",
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "no-cache",
    }
    media_type = _SHOWN_AS.get(path.rpartition(".")[2].lower(), "application/octet-stream")
    return Response(content, headers=headers, media_type=media_type)


async def post_file(call: Call) -> Response:
    """Write a file, or move one."""
    parts = _parts(call)
    if len(parts) == 3 and parts[1] == "move":
        return await _move(call, _path(parts[0]), _path(parts[2]))
    path = _path("/".join(parts))
    content = await read_body(call, USER_FILE_LIMIT_BYTES)
    written = await write_user_file(
        call.gateway.everfold.log,
        call.caller.user,
        path,
        content,
        overwrite=_may_overwrite(call),
    )
    if written is None:
        raise Problem(409, "file_exists", f"there is a file {path} already")
    return _written(call, written)


async def delete_file(call: Call) -> Response:
    """Delete a file."""
    path = _path("/".join(_parts(call)))
    if not await remove_user_file(call.gateway.everfold.log, call.caller.user, path):
        raise Problem(404, "not_found", f"there is no file {path}")
    return Response(status_code=204)


async def _move(call: Call, path: str, new_path: str) -> Response:
    moved = await move_user_file(
        call.gateway.everfold.log,
        call.caller.user,
        path,
        new_path,
        overwrite=_may_overwrite(call),
    )
    if moved == "unknown":
        raise Problem(404, "not_found", f"there is no file {path}")
    if moved == "exists":
        raise Problem(409, "file_exists", f"there is a file {new_path} already")
    return _written(call, moved)


def _written(call: Call, file: UserFile) -> Response:
    if _is_true(call, "full_info"):
        return json_answer(file_info(file, file.path))
    return json_answer(file.path)


def _is_true(call: Call, name: str) -> bool:
    return call.request.query_params.get(name, "").lower() == "true"


def _may_overwrite(call: Call) -> bool:
    return call.request.query_params.get("overwrite", "true").lower() != "false"


def _path(text: str) -> str:
    try:
        return user_path(text)
    except InvalidName as error:
        raise Problem(403, "invalid_path", str(error)) from error


def _parts(call: Call) -> list[str]:
    """Return what stands between the slashes after `/userdata/`: slashes inside of a file's name
    are written %2F, and only the address as it was sent tells the two apart."""
    raw = call.request.scope.get("raw_path", b"").partition(_PREFIX)[2]
    if not raw:
        return [str(call.request.path_params["file"])]
    try:
        return [unquote(part.decode("ascii"), errors="strict") for part in raw.split(b"/")]
    except UnicodeError as error:
        raise Problem(403, "invalid_path", "the path is no UTF-8") from error
