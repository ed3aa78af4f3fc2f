"""Who calls, and what that caller may do here: what a page asks before it shows anything."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold import __version__
from everfold.web.bodies import json_answer
from everfold.web.caller import Role
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER
from everfold.web.query import Query


class WhoAmI(Struct, frozen=True, kw_only=True):
    """The caller, and where it is."""

    role: Role
    user: str
    """Owner of the jobs and files that it makes; empty for nobody's."""
    sees_all: bool
    """Whether it sees what belongs to others, too."""
    key_id: str
    """Of the key that it showed, empty without keys."""
    namespace: str
    version: str
    """Of the gateway."""
    trace_url: str
    """Where the trace of a job is seen, with {trace_id} in it; empty where nobody has said that."""


async def who_am_i(call: Call) -> Response:
    """Say who calls."""
    Query(call.request, ())
    caller = call.caller
    told = WhoAmI(
        role=caller.role,
        user=caller.user,
        sees_all=caller.sees_all,
        key_id=caller.key_id,
        namespace=call.gateway.everfold.log.keys.namespace,
        version=__version__,
        trace_url=call.gateway.settings.trace_url,
    )
    return json_answer(told)


WHO_AM_I: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/whoami", answer=who_am_i, name="who_am_i", role="reader",
        summary="Say who calls, and what that caller may do and see.", answers={200: WhoAmI},
    ),
)  # fmt: skip
