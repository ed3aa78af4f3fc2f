"""Every argument of every public call: what nobody can mean is refused, and nothing is written."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import fields
from redis.asyncio import Redis

from everfold import (
    CatchUp,
    Cursor,
    Everfold,
    EverfoldError,
    JobFilter,
    Log,
    Policy,
    Producer,
    ProjectorConfig,
    RunnerConfig,
    Started,
    Subscription,
    TryLater,
    read_cursor,
)
from everfold.streams.events.ranges import RANGES
from tests.everfold.client.odd_values import (
    AFTER,
    GRAPH,
    HUGE,
    JOB,
    NO_CHANGES,
    NO_COUNT,
    NO_CURSOR,
    NO_EVENT,
    NO_EXTRA_DATA,
    NO_FILTER,
    NO_FLAG,
    NO_JOB,
    NO_JOBS,
    NO_LINE,
    NO_MARKS,
    NO_METADATA,
    NO_MOMENT,
    NO_NAME,
    NO_PARTNER_KEYS,
    NO_POLICY,
    NO_SECONDS,
    NO_TEXT,
    NO_TEXTS,
    NO_WORKFLOW,
    OPERATOR_CALLS,
    OTHER_TESTS,
    OUTPUT_CALLS,
    READ,
    Odd,
)

pytestmark = pytest.mark.anyio

ODD_FIELDS: tuple[object, ...] = ({"retries": -1}, {"retrys": 1}, {1: 2}, {"retries": []})

CALLS: dict[str, tuple[dict[str, object], dict[str, Iterable[object]]]] = {
    "Everfold.submit": (
        {"workflow": GRAPH},
        {
            "workflow": NO_WORKFLOW,
            "kind": NO_LINE,
            "user": NO_LINE,
            "user_id": NO_LINE,
            "metadata": NO_METADATA,
            "idempotency_key": (*NO_LINE, ""),
            "queue": NO_NAME,
            "priority": (*NO_NAME, "urgent"),
            "run_at": NO_MOMENT,
            **NO_MARKS,
            "policy": (*(one for one in NO_POLICY if not isinstance(one, dict)), *ODD_FIELDS),
            "extra_data": NO_EXTRA_DATA,
            "partner_keys": NO_PARTNER_KEYS,
            "on_missing": (*NO_NAME, "refuses"),
            "validate": NO_FLAG,
            "input_rules": (7, "open", {"allow_private": True}),
            "callback": (7, None, b"https://a/", "example.com", "ftp://a/", "https://a:b@c/"),
        },
    ),
    "Everfold.submit_many": (
        {"workflows": [GRAPH]},
        {
            "workflows": (7, None, "{}", b"{}", GRAPH, Path("a.json"), Odd()),
            "idempotency_keys": (7, "x", [], ["a", "b"]),
            "kind": NO_LINE,
            "user": NO_LINE,
            "metadata": NO_METADATA,
            "queue": NO_NAME,
            "priority": (*NO_NAME, "urgent"),
            **{name: values for name, values in NO_MARKS.items() if name != "inputs"},
            "policy": (*(one for one in NO_POLICY if not isinstance(one, dict)), *ODD_FIELDS),
            "on_missing": (*NO_NAME, "refuses"),
            "validate": NO_FLAG,
            "callback": (7, None, b"https://a/", "example.com", "ftp://a/", "https://a:b@c/"),
        },
    ),
    "Everfold.get": ({"job_id": JOB}, {**READ, "at_least_seq": NO_COUNT}),
    "Everfold.list": (
        {},
        {
            "statuses": (*NO_TEXTS, ["done"], ["queued", "QUEUED"]),
            **dict.fromkeys(("user", "user_id", "kind", "backend"), NO_LINE),
            **dict.fromkeys(("batch", "queue", "tag", "code", "error"), NO_LINE),
            "metadata": (7, [7], {"a": 7}, {7: "a"}, {"a\n": "b"}),
            **dict.fromkeys(("newer_than", "older_than"), NO_MOMENT),
            "cursor": NO_CURSOR,
            "limit": (*NO_COUNT, 0, -5, None),
        },
    ),
    "Everfold.page": (
        {"selects": JobFilter()},
        {
            "selects": NO_FILTER,
            "cursor": NO_CURSOR,
            "limit": (*NO_COUNT, 0, -5, None),
            "partial": (),
        },
    ),
    "Everfold.select": ({}, {"selects": NO_FILTER}),
    "Everfold.graph": ({"job_id": JOB}, READ),
    "Everfold.rerun": ({"job_id": JOB}, {**READ, "changes": (*NO_CHANGES, {"1.x": 1})}),
    "Everfold.cancel_many": ({"jobs": JobFilter()}, {"jobs": NO_JOBS, "reason": NO_LINE}),
    "Everfold.change_priorities": (
        {"jobs": JobFilter(), "priority": "high"},
        {"jobs": NO_JOBS, "priority": (*NO_NAME, "urgent")},
    ),
    "Everfold.rerun_many": ({"jobs": JobFilter()}, {"jobs": NO_JOBS, "changes": NO_CHANGES}),
    "Everfold.batch": ({}, {"name": NO_NAME}),
    "Everfold.batches": ({}, {"after": NO_LINE, "limit": (*NO_COUNT, 0, -5, None)}),
    "Everfold.find": ({}, {"part": (7, None, b"x", "", "abc")}),
    "Everfold.watch": ({"job_id": JOB}, AFTER),
    "Everfold.wait": ({"job_id": JOB}, {**READ, "timeout_s": NO_SECONDS}),
    "Everfold.outputs": ({}, READ),
    **OUTPUT_CALLS,
    "Everfold.events": ({"job_id": JOB}, AFTER),
    "Everfold.cancel": ({"job_id": JOB}, {**READ, "reason": NO_LINE}),
    "Everfold.retire_backend": ({}, {"name": (*NO_LINE, "", "http://nowhere:1")}),
    "Everfold.drain_backend": ({}, {"name": (*NO_LINE, "", "http://nowhere:1")}),
    "Everfold.drain_runner": ({}, {"name": (*NO_LINE, "", "nobody")}),
    "Everfold.return_backend": ({}, {"name": (*NO_LINE, "")}),
    "Everfold.give_up": ({}, READ),
    **OPERATOR_CALLS,
    "Everfold.acts": ({}, {"since": [one for one in NO_MOMENT if one is not None]}),
    "Everfold.consume": ({}, {"subscription": NO_POLICY, "task_status": ()}),
    "Log.submit": (
        {"workflow": GRAPH},
        {
            "workflow": [one for one in NO_WORKFLOW if not isinstance(one, Path)],
            "kind": NO_LINE,
            "user": NO_LINE,
            "metadata": NO_METADATA,
            "idempotency_key": (*NO_LINE, ""),
            "job_id": (*NO_TEXT, "", "a b", "\ud800", "x" * 201, "a\n", "{x}"),
            "queue": NO_NAME,
            "priority": NO_NAME,
            "run_at_ms": (*NO_COUNT, -1, 2**60, datetime.min),
            "rerun_of": (7,),
            "callback": (7, None, "example.com"),
            "policy": NO_POLICY,
            **NO_MARKS,
            "delay_s": NO_SECONDS,
            "extra_data": NO_EXTRA_DATA,
            "partner_keys": NO_PARTNER_KEYS,
        },
    ),
    "Log.append": (
        {"job_id": JOB, "event": Started(attempt=1), "epoch": 1},
        {
            "job_id": NO_JOB,
            "event": NO_EVENT,
            "epoch": (*NO_COUNT, None),
            "holder": (*NO_LINE, None),
            "expected": (*NO_COUNT, None),
        },
    ),
    "Log.workflow": ({"job_id": JOB, "sha256": "x"}, {"job_id": (*NO_TEXT, "\ud800")}),
    "Producer.append_many": ({"events": []}, {"events": (7, None, [7], [(7, 7)], ["ab"], Odd())}),
    "Producer.claim": ({}, {"most": (*NO_COUNT, 0, -1), "wait_s": NO_SECONDS}),
}

MADE: dict[str, tuple[dict[str, object], dict[str, Iterable[object]]]] = {
    "Subscription": (
        {"name": "s"},
        {
            "name": NO_NAME,
            "types": (*NO_TEXTS, ["done"], ["job.done"]),
            "kinds": NO_TEXTS,
            "users": NO_TEXTS,
            "start": (*NO_LINE, ""),
            "batch": (*NO_COUNT, 0),
            "concurrency": (*NO_COUNT, 0),
            "retry_s": (7, "1", ["1"], [-1], [math.nan], [math.inf], [HUGE], Odd()),
            "timeout_s": (*NO_SECONDS, 0, None),
            "about": NO_LINE,
        },
    ),
    "CatchUp": (
        {},
        {
            "cursor": (*NO_TEXT, "x", Cursor("", {0: "x"}), Cursor("", {999: "1-0"})),
            "types": (*NO_TEXTS, ["done"]),
            "kinds": NO_TEXTS,
            "users": NO_TEXTS,
        },
    ),
    "Producer": (
        {"runner": "r"},
        {
            "runner": (*NO_NAME, "released"),
            "queues": (*NO_TEXTS, ["a b"], [""]),
            "lease_ttl_s": (*NO_SECONDS, 0, None),
        },
    ),
    "TryLater": ({"why": "x", "after_s": 1.0}, {"after_s": (*NO_SECONDS, None), "counts": NO_FLAG}),
    "read_cursor": ({}, {"text": (*NO_TEXT, None, "", "{}", "[" * 10_000, '{"after": {"x": 1}}')}),
    "RunnerConfig": (
        {"name": "r"},
        {
            "name": NO_NAME,
            "queues": (*NO_TEXTS, [], ["a b"]),
            **{f.name: NO_SECONDS for f in fields(RunnerConfig) if f.name.endswith("_s")},
            "slots": (*NO_COUNT, 0),
            **dict.fromkeys(("event_limit_bytes", "output_limit_bytes"), (*NO_COUNT, 0, 1000)),
            "thumbnails": NO_FLAG,
        },
    ),
    "ProjectorConfig": (
        {},
        {
            **{f.name: NO_SECONDS for f in fields(ProjectorConfig) if f.name.endswith("_s")},
            "cached_jobs": NO_COUNT,
            "index_metadata": (7, [7], ["a b"]),
        },
    ),
}

CLASSES = {"Everfold": Everfold, "Log": Log, "Producer": Producer}
MAKERS: Mapping[str, Callable[..., object]] = {
    "Subscription": Subscription,
    "CatchUp": CatchUp,
    "Producer": Producer,
    "TryLater": TryLater,
    "read_cursor": read_cursor,
    "RunnerConfig": RunnerConfig,
    "ProjectorConfig": ProjectorConfig,
}
GIVEN = {"self", "log", "archive", "why"}
"""Arguments that are made by Everfold, or that are no more than a text to be shown."""


def arguments(call: Callable[..., object]) -> set[str]:
    return set(inspect.signature(call).parameters) - GIVEN


def test_every_argument_of_every_public_call_has_a_row() -> None:
    methods = {
        f"{name}.{method}": getattr(kind, method)
        for name, kind in CLASSES.items()
        for method in {name: None for one in kind.__mro__[:-1] for name in vars(one)}
        if not method.startswith("_") and callable(getattr(kind, method))
    }
    assert methods.keys() == CALLS.keys() | OTHER_TESTS
    for name in CALLS:
        extra = {"sha256"} if name == "Log.workflow" else set()
        assert arguments(methods[name]) - extra == set(CALLS[name][1]), name
    for name, maker in MAKERS.items():
        assert arguments(maker) == set(MADE[name][1]), name


def test_every_number_of_a_config_and_a_policy_has_a_range() -> None:
    for kind in (RunnerConfig, ProjectorConfig, Policy):
        numbers = {f.name for f in fields(kind) if f.type is not bool and "str" not in str(f.type)}
        assert numbers - RANGES.keys() == set(), kind


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=2) as everfold:
        await everfold.log.make()
        yield everfold


async def stored(everfold: Everfold) -> dict[bytes, object]:
    """Return every key of the namespace with its bytes."""
    namespace = everfold.log.keys.namespace
    async with Redis.from_url(everfold.log.url.reveal()) as redis:
        found = [key async for key in redis.scan_iter(f"*{namespace}[:}}]*", count=1000)]
        noted = everfold.log.keys.servers().encode()  # by every process, now and then
        return {key: await redis.dump(key) for key in sorted(found) if key != noted}


async def run(call: Callable[..., object], given: Mapping[str, object]) -> object:
    made = call(**given)
    if isinstance(made, AbstractAsyncContextManager):
        async with made as entered:
            return entered
    if inspect.isasyncgen(made):
        return [one async for one in made]
    return await made if inspect.isawaitable(made) else made


async def wrong(call: Callable[..., object], given: Mapping[str, object]) -> str:
    """Return what is wrong with how a call refuses its arguments, empty for nothing."""
    try:
        await run(call, given)
    except EverfoldError as error:
        return "" if 10 < len(str(error)) < 500 else f"says {len(str(error))} characters"
    except BaseException as error:  # whatever it is, it is what this test looks for
        return f"raises {type(error).__name__}: {str(error)[:100]}"
    return "accepts it"


def said(value: object) -> str:
    return type(value).__name__ if isinstance(value, Odd | list | dict) else repr(value)[:60]


@pytest.mark.parametrize("name", CALLS)
async def test_what_nobody_can_mean_is_refused_and_nothing_is_written(
    everfold: Everfold, name: str
) -> None:
    job_id = (await everfold.submit(GRAPH)).job_id
    owners = {"Everfold": everfold, "Log": everfold.log, "Producer": Producer(everfold.log, "r")}
    kind, _, method = name.partition(".")
    needed, rows = CALLS[name]
    before = await stored(everfold)
    failures = [
        f"{name}({argument}={said(value)}) {fault}"
        for argument, values in rows.items()
        for value in values
        for given in [{k: job_id if v is JOB else v for k, v in needed.items()}]
        if (fault := await wrong(getattr(owners[kind], method), {**given, argument: value}))
    ]
    assert failures == []
    assert await stored(everfold) == before


@pytest.mark.parametrize("name", MADE)
async def test_nothing_is_made_of_what_nobody_can_mean(everfold: Everfold, name: str) -> None:
    needed, rows = MADE[name]
    given = {"log": everfold.log, **needed} if name in ("CatchUp", "Producer") else needed
    failures = [
        f"{name}({argument}={said(value)}) {fault}"
        for argument, values in rows.items()
        for value in values
        if not (value is None and argument == "cursor")
        if (fault := await wrong(MAKERS[name], {**given, argument: value}))
    ]
    assert failures == []


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("url", (7, b"redis://h", ["redis://h"], "x", "http://h", "redis://h:99999")),
        ("namespace", NO_NAME),
        ("partitions", (*NO_COUNT, 0, -1, 1025)),
        ("actor", NO_NAME),
        ("role", ("nobody", 7, ["client"], {}, Odd())),
        ("cipher", (7, "key", b"key", [], Odd())),
        ("replicas", (-1, 17, 1.5, True, "1", Odd())),
        ("replicas_within_s", (0, 11, float("nan"), True, "1s", Odd())),
        ("replicas_for", ("", "every", 7, ["all"], Odd())),
    ],
)
async def test_nothing_is_opened_with_what_nobody_can_mean(
    everfold: Everfold, argument: str, values: Iterable[object]
) -> None:
    known = {
        "url", "namespace", "partitions", "actor", "role", "config", "assets", "cipher", "creates",
        "replicas", "replicas_within_s", "replicas_for", "spread",
    }  # fmt: skip
    assert {*arguments(Everfold.connect), *arguments(Log.open)} == known
    given = {"url": everfold.log.url, "namespace": everfold.log.keys.namespace}

    async def opened(**arguments: object) -> None:
        async with Log.open(**arguments):  # type: ignore[arg-type]  # what is tested
            pass

    before = await stored(everfold)
    failures = [
        f"{argument}={said(value)} {fault}"
        for value in values
        if (fault := await wrong(opened, {**given, argument: value}))
    ]
    assert failures == []
    assert await stored(everfold) == before
