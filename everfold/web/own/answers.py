"""What Everfold's own routes share: reading what came, and the errors that each may answer with.

Rule: an id or a name from a path is a text of anybody: bounded here, before it becomes a key.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from everfold.client import Everfold
from everfold.streams.errors import JobUnknown
from everfold.streams.events.limits import ID_LIMIT
from everfold.web.bodies import read_json
from everfold.web.caller import Caller
from everfold.web.operation import Call
from everfold.web.problem import Problem

T = TypeVar("T")

UNDER = "/everfold/v1"
"""Where these routes stand, but for the probes."""


class Reason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is done, for all who look later."""

    reason: str = ""


def job_id_of(call: Call) -> str:
    """Return the job's id from the path. Raises JobUnknown for what is no job's id."""
    job_id = name_of(call, "job_id")
    if len(job_id) > ID_LIMIT:
        raise JobUnknown(job_id)
    return job_id


def name_of(call: Call, parameter: str) -> str:
    """Return a name from the path."""
    return str(call.request.path_params[parameter])


async def read_optional(call: Call, kind: type[T]) -> T:
    """Return the JSON body, or an empty value where there is none. Raises as `read_json` does."""
    headers = call.request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return kind()
    return await read_json(call, kind)


def acting(call: Call) -> Everfold:
    """Return the client whose acts are noted under the caller's name."""
    call.gateway.farm.sample_soon()
    return call.gateway.acting_as(call.caller)


def check_sees_all(caller: Caller) -> None:
    """Raise Problem for a caller that sees what belongs to one user only."""
    if not caller.sees_all:
        raise Problem(403, "forbidden", "this shows what belongs to all users; ask with a key that "
                      "sees all")  # fmt: skip
