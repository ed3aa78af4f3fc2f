"""GET /doctor: what is as it should be, and what to change where it is not."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.query import Query


class ToldFinding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    found: str
    advice: str
    """What to change; empty where all is well."""
    is_well: bool


class Doctor(Struct, frozen=True, kw_only=True):
    """What was found, what is to be changed first."""

    findings: list[ToldFinding]
    to_change: int
    """Findings with something to change."""
    at_ms: int
    """When it was looked at, at most 30 s ago."""


async def get_doctor(call: Call) -> Response:
    """Say what is wrong with the namespace."""
    check_sees_all(call.caller)
    Query(call.request, ())
    examined = await call.gateway.examinations.get()
    told = [
        ToldFinding(what=one.what, found=one.found, advice=one.advice, is_well=not one.advice)
        for one in sorted(examined.findings, key=lambda one: not one.advice)
    ]
    to_change = sum(not one.is_well for one in told)
    return json_answer(Doctor(findings=told, to_change=to_change, at_ms=examined.at_ms))


DOCTOR: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/doctor", answer=get_doctor, name="get_doctor",
        role="operator", answers={200: Doctor},
        summary="Say what is wrong with the namespace and what to change, as `everfold doctor`.",
    ),
)  # fmt: skip
