"""The front end's settings of a user."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from everfold.streams.user_files.user_settings import (
    read_user_setting,
    read_user_settings,
    write_user_settings,
)
from everfold.web.bodies import json_answer, read_json
from everfold.web.comfyui.front_end.shapes import Users
from everfold.web.operation import Call


async def get_users(call: Call) -> Response:
    """Say that settings are kept here."""
    return json_answer(Users())


async def get_settings(call: Call) -> Response:
    """Answer with all settings of the caller."""
    found = await read_user_settings(call.gateway.everfold.log, call.caller.user)
    return json_answer({name: msgspec.Raw(value) for name, value in found.items()})


async def get_setting(call: Call) -> Response:
    """Answer with one setting; null where there is none."""
    name = call.request.path_params["id"]
    found = await read_user_setting(call.gateway.everfold.log, call.caller.user, name)
    return json_answer(msgspec.Raw(found or b"null"))


async def post_settings(call: Call) -> Response:
    """Write some settings; others stay."""
    await _write(call, await read_json(call, dict[str, msgspec.Raw]))
    return Response()


async def post_setting(call: Call) -> Response:
    """Write one setting."""
    value = await read_json(call, msgspec.Raw)
    await _write(call, {call.request.path_params["id"]: value})
    return Response()


async def _write(call: Call, settings: dict[str, msgspec.Raw]) -> None:
    texts = {name: bytes(value) for name, value in settings.items()}
    await write_user_settings(call.gateway.everfold.log, call.caller.user, texts)
