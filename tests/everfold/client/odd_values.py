"""Values that no argument may have, by what the argument is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import cast

from everfold import JobFilter, Policy, Started


class Odd:
    """An object that refuses whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __len__ = __iter__ = __hash__ = __eq__ = __repr__  # type: ignore[assignment]


class OddZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        raise RuntimeError

    dst = tzname = utcoffset


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


CYCLE: list[object] = []
CYCLE.append(CYCLE)
NODE = {"class_type": "A", "inputs": {}}
GRAPH: dict[str, object] = {"1": NODE}
HUGE = 10**400

Values = tuple[object, ...]

NO_TEXT: Values = (
    7,
    1.5,
    True,
    b"x",
    bytearray(b"x"),
    {"x"},
    ["x"],
    {"x": 1},
    Decimal(1),
    Odd(),
    CYCLE,
)
NO_LINE: Values = (*NO_TEXT, "\ud800", "a\nb", "\x00", "\x1b[2J", "x" * 10_000)
NO_NAME: Values = (*NO_LINE, None, "", " ", "a b", "{x}", "-a", "é")
NO_NUMBER: Values = ("1", b"1", True, [], {}, {1}, Decimal("1.5"), Odd(), 1j)
NO_COUNT: Values = (*NO_NUMBER, -2, HUGE, -HUGE, 0.5, math.nan, math.inf, 1e308)
NO_SECONDS: Values = (*NO_NUMBER, -1, -0.001, HUGE, math.nan, math.inf, -math.inf, 1e308)
NO_MOMENT: Values = (
    *(7, "2030-01-01", Odd(), datetime.min, datetime.max, datetime(1, 1, 1), datetime(1900, 1, 1)),
    *(datetime(2030, 1, 1, tzinfo=OddZone()), math.nan, HUGE),
)  # fmt: skip
NO_JOB: Values = (
    *NO_TEXT,
    None,
    "",
    "\ud800",
    "nobody",
    "x" * 10_000,
    "../x",
    "{x}",
    "a\nb",
    "\x00",
)
NO_TEXTS: Values = ("ada", b"ada", 7, [7], [None], ["\ud800"], ["a\nb"], Odd(), ["x" * 10_000])
NO_JSON: Values = (
    *(Odd(), {1}, b"x", Decimal(1), 1j, datetime(2030, 1, 1), "\ud800", math.nan, -math.inf),
    *(HUGE, -HUGE, 2**64, deep(70), deep(500), deep(5_000), CYCLE, {1: 2}, {"\ud800": 1}),
)  # fmt: skip
NO_METADATA: Values = (
    *({"x": value} for value in NO_JSON),
    *("x", 7, [], [1], {1}, Odd(), 0, "", {1: 2}, {None: 1}, {"x": "y" * 70_000}),
)  # fmt: skip
NO_WORKFLOW: Values = (
    *({"1": {"class_type": "A", "inputs": {"x": value}}} for value in NO_JSON),
    *(None, 7, [], [GRAPH], {}, "", " ", b"", "{", b"\xff\xfe", "\ufeff", Odd(), CYCLE, Path("/")),
    *({"prompt": GRAPH}, {"input": {"workflow": GRAPH}}, {"nodes": [], "links": []}),
    *({"workflow": {"nodes": [], "links": []}}, {"1": None}, {"1": {"class_type": "A"}}, {1: NODE}),
    *(Path("/nowhere/x.json"), Path("/dev/null"), Path("/dev/zero"), Path("a\x00b"), "[" * 10_000),
    *('{"1": {"class_type": "A", "inputs": {"x": NaN}}}', '{"1": 1, "1": 2}', "x" * 20_000_000),
)  # fmt: skip
NO_POLICY: Values = (7, "x", {"retries": 1}, Odd(), [])
NO_EVENT: Values = (None, 7, "job.started", {}, Odd(), Policy(), Started(attempt=cast("int", "1")))
NO_CURSOR: Values = (*NO_TEXT, "x", ":", "²:a", "9" * 5_000 + ":a", "1", "1:", "\ud800")

NO_FLAG: Values = (None, 1, "no", [])
NO_FOLDER: Values = (7, None, b"x", "", "a\x00b", "/dev/null/x", "~nobody-of-this-name/x", Odd())

NO_ARCHIVE: Values = (7, 1.5, b"x", ["x"], {"x": 1}, "\ud800", "a\x00b", "a\nb", Odd())

NO_FILTER = (*NO_POLICY, JobFilter(statuses=["done"]), JobFilter(user="a\n"))
NO_JOBS = (7, "x", [7], [""], JobFilter(user="a\n"))
NO_CHANGES = (7, [7], {7: 1})
NO_EXTRA_DATA = (
    *NO_METADATA[:-1],
    {"partial_execution_targets": ["no such node"]},
    {"partial_execution_targets": "1"},
    {"api_key_comfy_org": 7},
)
NO_MARKS: dict[str, tuple[object, ...]] = {
    "batch": ("x" * 10_000, "a\nb", "\x00"),
    "tags": (7, [7], [None], ["a\nb"], [f"t{i}" for i in range(17)]),
    "needs": (7, [7], ["a\nb"], [""], [f"n{i}" for i in range(21)]),
    "inputs": (7, [7], "1.a=b", Odd(), {1: b""}, {"1.x": 7}, {"9.no": b""}),
    "traceparent": (),  # what is none is ignored
}

NO_PARTNER_KEYS = (
    *(7, "key", ["api_key_comfy_org"], Odd()),
    {"openai": "a-long-enough-key"},
    {"api_key_comfy_org": 7},
    {"api_key_comfy_org": "short"},
    {"api_key_comfy_org": "a-long-enough-key\n"},
)

JOB = object()
"""Stands for the id of a job that exists."""

READ: dict[str, Iterable[object]] = {"job_id": NO_JOB}
NO_LIMIT: dict[str, Iterable[object]] = {
    "what": (7, None, "", "runs"),
    "scope": (7, None, "", "job"),
    "name": (*NO_LINE, ""),
}
AFTER: dict[str, Iterable[object]] = {**READ, "after_seq": NO_COUNT}

OPERATOR_CALLS: dict[str, tuple[dict[str, object], dict[str, Iterable[object]]]] = {
    "Everfold.pause_queue": ({"name": "default"}, {"name": NO_NAME, "reason": NO_LINE}),
    "Everfold.resume_queue": ({}, {"name": NO_NAME}),
    "Everfold.set_limit": (
        {"what": "running", "scope": "user", "name": "ada", "number": 1},
        {**NO_LIMIT, "number": (-1, 1.5, "1", None, float("nan"), float("inf"), True)},
    ),
    "Everfold.remove_limit": ({"what": "running", "scope": "user", "name": "ada"}, NO_LIMIT),
    "Everfold.change_priority": (
        {"job_id": JOB, "priority": "high"},
        {**READ, "priority": (*NO_NAME, "urgent")},
    ),
    "Everfold.user_content": ({"user": "ada"}, {"user": NO_LINE}),
    "Everfold.erase": (
        {"user": "ada"},
        {"user": NO_LINE, "cancel": NO_FLAG, "cancel_within_s": NO_SECONDS},
    ),
    "Everfold.position": ({}, READ),
    "Everfold.why": ({}, READ),
}

NO_CHOICE = tuple(one for one in NO_LINE if one is not None)
OUTPUT_CALLS: dict[str, tuple[dict[str, object], dict[str, Iterable[object]]]] = {
    "Everfold.output_files": ({}, READ),
    "Everfold.open_output": (
        {"job_id": JOB},
        {
            **READ,
            "file": NO_CHOICE,
            "node": NO_CHOICE,
            "index": NO_COUNT,
            "start": NO_COUNT,
            "end": NO_COUNT,
            "thumbnail": NO_FLAG,
        },
    ),
    "Everfold.save_outputs": (
        {"job_id": JOB, "folder": Path("/dev/null")},
        {**READ, "folder": NO_FOLDER, "thumbnails": NO_FLAG},
    ),
}

OTHER_TESTS = {
    "Everfold.connect", "Producer.finish", "Producer.release", "Log.acting_as", "Log.encoded",
    "Everfold.follow", "Everfold.backends", "Everfold.runners", "Everfold.queues", "Log.open",
    "Everfold.limits", "Everfold.acting_as", "Log.stamp", "Log.new_event", "Log.commit",
    "Log.submit_request", "Log.check_request", "Log.sealed", "Log.sealed_text", "Log.opened",
    "Log.earlier_append", "Log.opened_records", "Log.why_locked", "Log.opened_content",
    "Log.check_level", "Producer.own_leases", "Producer.append", "Producer.renew",
    "Log.make", "Log.check_exists", "Log.write", "Log.committing", "Log.group_commit",
}  # fmt: skip
"""Public calls that other tests call with what nobody can mean, or that take nothing."""
