"""Finds stored files, gives them out, and removes them.

Rule: a file of somebody else does not exist, and neither do its bytes: nobody finds out by a hash
what others have stored.
"""

from __future__ import annotations

import time

from starlette.responses import Response

from everfold.assets.job_files import job_files, not_stored
from everfold.projector.job.job import Job
from everfold.streams.assets.asset import Asset, is_asset_id
from everfold.streams.errors import AssetUnknown
from everfold.web.bodies import json_answer, read_json
from everfold.web.files.file_answer import File, file_answer, known_bytes, stored_bytes
from everfold.web.files.owned_files import file_with_bytes, named_again
from everfold.web.operation import Call
from everfold.web.problem import Problem
from everfold.web.v2.addresses import base_of
from everfold.web.v2.output_ids import Place, place_of
from everfold.web.v2.shapes import AssetAnswer, HashBody
from everfold.web.v2.stored.asset_answer import asset_answer, value_answer
from everfold.web.v2.stored.uploading import checked_tags
from everfold.web.v2.values import Value, values_of_node


async def get_asset(call: Call) -> Response:
    """Answer with what is known of a file."""
    found = await _found(call)
    base, now_ms = base_of(call.request), time.time_ns() // 1_000_000
    if isinstance(found, Asset):
        return json_answer(asset_answer(found, base, now_ms))
    return json_answer(value_answer(*found, base, now_ms))


async def get_content(call: Call) -> Response:
    """Answer with the bytes of a file, or a part of them."""
    found = await _found(call)
    if isinstance(found, Asset):
        file = File(
            name=found.name,
            media_type=found.media_type,
            size_bytes=found.size_bytes,
            hash=found.hash,
            open=stored_bytes(call.gateway.everfold.assets, found.hash),
        )
        return await file_answer(call.request, file)
    _, value = found
    told = value_answer(*found, base_of(call.request), 0)
    file = File(
        name=value.name,
        media_type=f"{value.media_type}; charset=utf-8",
        size_bytes=len(value.content),
        hash=str(told.hash),
        open=known_bytes(value.content),
    )
    return await file_answer(call.request, file)


async def delete_asset(call: Call) -> Response:
    """Forget a file. A job that was submitted with it still gets it."""
    found = await _found(call)
    if not isinstance(found, Asset):
        why = "this is a part of its job's outputs, and stays as long as the job"
        raise Problem(409, "conflict", why)
    await call.gateway.everfold.assets.remove(found.id)
    return Response(status_code=204)


async def has_hash(call: Call) -> Response:
    """Say by the status whether the caller has a file with these bytes."""
    content_hash = str(call.request.path_params["hash"])
    found = await file_with_bytes(call.gateway.everfold.assets, call.caller, content_hash)
    return Response(status_code=200 if found else 404)


async def create_from_hash(call: Call) -> Response:
    """Give bytes that the caller has a name of their own, without sending them again."""
    body = await read_json(call, HashBody)
    checked_tags(body.tags or [])
    store = call.gateway.everfold.assets
    found = await file_with_bytes(store, call.caller, body.hash)
    stored = None
    if found is not None:
        stored = await named_again(store, call.caller, found, body.file_path or found.name)
    if stored is None:
        raise Problem(404, "blob_not_found", f"you have no file with the bytes {body.hash[:80]}")
    base, now_ms = base_of(call.request), time.time_ns() // 1_000_000
    answer: AssetAnswer = asset_answer(stored.asset, base, now_ms, is_new=False)
    return json_answer(answer, 201 if stored.created else 200)


async def _found(call: Call) -> Asset | tuple[Job, Value]:
    """Return the file that the path names. Raises Problem, and JobUnknown."""
    asset_id = str(call.request.path_params["asset_id"])
    place = place_of(asset_id)
    if place is not None:
        look = await call.gateway.look(call.caller, place.job_id)
        return look.job, _value_at(look.job, place)
    if is_asset_id(asset_id):
        try:
            found = await call.gateway.everfold.assets.get(asset_id)
        except AssetUnknown:
            found = None
        if found is not None and call.caller.sees(found.owner):
            return found
    raise Problem(404, "not_found", f"there is no asset {asset_id[:80]}")


def _value_at(job: Job, place: Place) -> Value:
    for value in values_of_node(job, place.node):
        if value.place == place:
            return value
    for file in job_files(job):
        if (file.node, file.kind, file.index) == (place.node, place.kind, place.index):
            told = {"why": file.why, "backend": file.backend}
            why = str(not_stored(job.job_id, file))
            raise Problem(404, "not_found", why, details=told if file.why else None)
    raise Problem(404, "not_found", f"job {job.job_id} has no such output")
