"""What a supervisor asks a gateway: whether it lives, and whether it is ready to be used."""

from __future__ import annotations

import asyncio

from msgspec import Struct
from starlette.responses import PlainTextResponse, Response

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation

logger = get_logger("everfold.web")

ANSWER_WITHIN_S = 2.0
"""Redis must answer within this time, or the gateway is not ready."""


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a gateway can serve, and what it lacks where it cannot."""

    is_ready: bool
    missing: tuple[str, ...] = ()
    """Sentences for people."""


async def livez(call: Call) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")


async def readyz(call: Call) -> Response:
    """Say whether Redis answers, the namespace is there, and what happens is followed."""
    missing = list[str]()
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await call.gateway.everfold.log.check_level()
    except TimeoutError:
        missing.append(f"Redis has not answered within {ANSWER_WITHIN_S:g} s")
    except EverfoldError as error:
        # The probe is public: what the error says of addresses is in the gateway's own log.
        logger.warning("not_ready why=%r", str(error))
        missing.append(f"Redis cannot be used ({type(error).__name__}); see the gateway's log")
    if not call.gateway.feeds.is_following:
        missing.append("the log is not followed: no change would be told; start the gateway again")
    told = Readiness(is_ready=not missing, missing=tuple(missing))
    return json_answer(told, 503 if missing else 200)


PROBES: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/livez", answer=livez, name="livez", is_public=True, role="reader",
        summary="Say that the process answers.", answers={200: "text/plain"},
    ),
    Operation(
        method="GET", path="/readyz", answer=readyz, name="readyz", is_public=True,
        role="reader", summary="Say whether Redis answers and the log is followed.",
        answers={200: Readiness, 503: Readiness},
    ),
)  # fmt: skip
