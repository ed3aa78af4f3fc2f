"""What a submit carries, what a repeat of it means, and what is stored of it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from typing import cast

import pytest
from msgspec.structs import replace

from everfold.streams.appending.body import body_of, check_stored, read_body
from everfold.streams.appending.graph_assets import read_graph_assets
from everfold.streams.appending.log import Log
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import IdempotencyConflict, InvalidName, Refused, TooLarge
from everfold.streams.events.event import AssetInput, Policy, Submitted, Succeeded
from everfold.streams.events.ids import new_job_id
from everfold.streams.events.workflow_check import check_workflow
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.streams.appending.test_log import GRAPH, OTHER, leased
from tests.streams.events.stored import stored
from tests.support.stored_names import names_like

pytestmark = pytest.mark.anyio

EXTRA = {"extra_pnginfo": {"workflow": {"nodes": [], "links": []}}, "preview_method": "taesd"}
KEY = "comfyui-SECRET-1234567890"
FILE = AssetInput(
    asset="0e8b4b0c-9a44-5e0e-8c8a-3b0f3c9d4e5f",
    hash="blake3:" + "ab" * 32,
    size_bytes=3,
    media_type="image/png",
    name="photo.png",
)
FAR_MS = 4_000_000_000_000
SAME: dict[str, object] = {
    "user": "ada",
    "metadata": {"shop": 1},
    "idempotency_key": "k",
    "extra_data": EXTRA,
    "partner_keys": {"api_key_comfy_org": Secret(KEY)},
    "inputs": {"1.width": FILE},
}
DIFFERS: tuple[tuple[str, object], ...] = (
    ("kind", "poster"),
    ("queue", "other"),
    ("priority", "low"),
    ("metadata", {"shop": 8}),
    ("metadata", {"shop": True}),
    ("metadata", {"shop": 1.0}),
    ("policy", Policy(retries=7)),
    ("extra_data", None),
    ("extra_data", {**EXTRA, "preview_method": "auto"}),
    ("partner_keys", None),
    ("partner_keys", {"auth_token_comfy_org": Secret(KEY)}),
    ("inputs", None),
    ("inputs", {"2.image": FILE}),
    ("inputs", {"1.width": replace(FILE, hash="blake3:" + "cd" * 32)}),
)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def all_keys(log: Log, pattern: str = "*") -> list[bytes]:
    """Return the names of this namespace's keys."""
    return await names_like(log.redis, f"*{log.keys.namespace}{pattern}")


async def submitted(log: Log, job_id: str) -> Submitted:
    event = (await job_events(log, job_id))[0].event
    assert isinstance(event, Submitted)
    return event


async def everything(log: Log) -> str:
    """Return all that the server holds, keys for partner nodes left out."""
    noted = log.keys.servers().encode()  # by every process, now and then
    names = [n for n in await all_keys(log) if b":partner_keys:" not in n and n != noted]
    return repr([(name, await command(log.redis, "DUMP", name)) for name in names])


async def partner_key_names(log: Log) -> list[bytes]:
    return await all_keys(log, "*partner_keys*")


async def test_a_key_belongs_to_its_user_and_to_one_set_of_arguments(log: Log) -> None:
    made = await log.submit(GRAPH, **SAME)  # type: ignore[arg-type]
    before = await stored(log, made.job_id)
    for name, value in DIFFERS:
        with pytest.raises(IdempotencyConflict, match=f"with another {name}; ") as conflict:
            await log.submit(GRAPH, **{**SAME, name: value})  # type: ignore[arg-type]
        assert (conflict.value.job_id, conflict.value.what) == (made.job_id, name)
    for graph, name in ((OTHER, "workflow"), (GRAPH, "run_at")):
        at_ms = FAR_MS if name == "run_at" else None
        with pytest.raises(IdempotencyConflict, match=f"with another {name}; "):
            await log.submit(graph, run_at_ms=at_ms, **SAME)  # type: ignore[arg-type]
    assert (await log.submit(GRAPH, **SAME)).created is False  # type: ignore[arg-type]
    assert await stored(log, made.job_id) == before
    assert len(await partner_key_names(log)) == 1
    other = await log.submit(GRAPH, **{**SAME, "user": "bob"})  # type: ignore[arg-type]
    assert (other.created, other.job_id != made.job_id) == (True, True)


async def test_an_absolute_time_is_compared_and_a_delay_is_not(log: Log) -> None:
    await log.submit(GRAPH, idempotency_key="absolute", run_at_ms=FAR_MS)
    assert not (await log.submit(GRAPH, idempotency_key="absolute", run_at_ms=FAR_MS)).created
    for time in ({"run_at_ms": FAR_MS + 1}, {}):
        with pytest.raises(IdempotencyConflict, match="run_at"):
            await log.submit(GRAPH, idempotency_key="absolute", **time)  # type: ignore[arg-type]
    await log.submit(GRAPH, idempotency_key="moving", delay_s=3600)
    assert not (await log.submit(GRAPH, idempotency_key="moving", delay_s=3601)).created
    with pytest.raises(IdempotencyConflict, match="run_at"):
        await log.submit(GRAPH, idempotency_key="moving")
    with pytest.raises(InvalidName, match="use one of them"):
        await log.submit(GRAPH, run_at_ms=FAR_MS, delay_s=1)


async def test_a_job_id_that_is_given_again_is_compared_as_a_key_is(log: Log) -> None:
    await log.submit(GRAPH, job_id="mine", kind="poster")
    assert not (await log.submit(GRAPH, job_id="mine", kind="poster")).created
    with pytest.raises(IdempotencyConflict, match="kind"):
        await log.submit(GRAPH, job_id="mine", kind="other")


@pytest.mark.parametrize("key", ["", " ", "\u2003\u3000", "a\nb", "a\x00", "\ud800", "k" * 201])
async def test_a_key_that_says_nothing_is_refused(log: Log, key: str) -> None:
    with pytest.raises(Refused):
        await log.submit(GRAPH, idempotency_key=key)


async def test_keys_are_told_apart_by_each_of_their_characters(log: Log) -> None:
    composed = "\u00e9"
    keys = [composed, unicodedata.normalize("NFD", composed), "k", "K", "k ", " k"]
    made = {(await log.submit(GRAPH, idempotency_key=key)).job_id for key in keys}
    made |= {(await log.submit(GRAPH, user="u", idempotency_key=key)).job_id for key in keys}
    assert len(made) == 2 * len(keys)


def test_the_id_of_a_job_tells_nothing_of_the_next_one() -> None:
    numbers = [int(new_job_id().replace("-", ""), 16) for _ in range(1000)]
    chances = {number & (1 << 62) - 1 for number in numbers}
    assert len(chances) == 1000
    # Ids of one millisecond do not follow one another closely, as those of events do.
    near = [a for a, b in pairwise(numbers) if abs(a - b) < 1 << 41]
    assert near == []


async def test_extra_data_is_stored_once_with_its_graph_and_read_back(log: Log) -> None:
    made = [(await log.submit(GRAPH, extra_data=EXTRA)).job_id for _ in range(2)]
    plain = (await log.submit(GRAPH)).job_id
    event = await submitted(log, made[0])
    assert event.workflow == (await submitted(log, plain)).workflow
    content = await log.workflow(made[0], event.stored)
    assert content is not None
    body = read_body(content)
    assert json.loads(bytes(body.extra_data)) == EXTRA
    assert bytes(body.workflow) == await log.workflow(plain, event.workflow)


async def test_what_everfold_sends_of_its_own_is_left_out(log: Log) -> None:
    extra = {"client_id": "theirs", "everfold": {"job_id": "x"}, "partial_execution_targets": None}
    made = await log.submit(GRAPH, extra_data=extra)
    assert (await submitted(log, made.job_id)).stored == (
        await submitted(log, made.job_id)
    ).workflow


DEEP: object = 1
for _ in range(70):
    DEEP = [DEEP]

ODD: tuple[object, ...] = (
    [],
    "text",
    {1: 2},
    {"a": object()},
    {"a": float("nan")},
    {"a": DEEP},
    {"partial_execution_targets": []},
    {"partial_execution_targets": "1"},
    {"partial_execution_targets": ["no such node"]},
    {"partial_execution_targets": [1]},
    {"api_key_comfy_org": 7},
    {"api_key_comfy_org": ""},
    {"api_key_comfy_org": "a\nb"},
)


@pytest.mark.parametrize("extra", ODD, ids=range(len(ODD)))
async def test_extra_data_that_comfyui_would_not_take_is_refused(log: Log, extra: object) -> None:
    with pytest.raises(Refused):
        await log.submit(GRAPH, extra_data=extra)  # type: ignore[arg-type]
    assert await all_keys(log, "*workflow:*") == []


async def test_extra_data_has_a_limit(log: Log) -> None:
    with pytest.raises(TooLarge, match="extra_data"):
        await log.submit(GRAPH, extra_data={"a": "x" * (4 * 1024 * 1024)})


@pytest.mark.parametrize("place", ["partner_keys", "extra_data"])
async def test_a_partner_key_is_beside_the_log_only_and_gone_at_the_end(
    log: Log, place: str
) -> None:
    given: Mapping[str, object] = {"api_key_comfy_org": KEY}
    more: dict[str, object] = {"extra_data": {**EXTRA, **(given if place == "extra_data" else {})}}
    if place == "partner_keys":
        more["partner_keys"] = {name: Secret(str(key)) for name, key in given.items()}
    lease = await leased(log, **more)  # type: ignore[arg-type]
    [name] = await partner_key_names(log)
    assert KEY.encode() in cast("bytes", await command(log.redis, "GET", name))
    assert 0 < cast("int", await command(log.redis, "PTTL", name)) <= 24 * 3600 * 1000
    assert KEY not in await everything(log)
    assert (await submitted(log, lease.job_id)).partner_keys == ["api_key_comfy_org"]
    end = Succeeded(attempt=1, outputs={})
    await log.append(lease.job_id, end, epoch=lease.epoch)
    assert await partner_key_names(log) == []


BAD_KEYS: tuple[object, ...] = (
    [KEY],
    KEY,
    {KEY: "x"},
    {"api_key_comfy_org": [KEY]},
    {"api_key_comfy_org": KEY + "\n"},
    {"api_key_comfy_org": KEY * 1000},
)


@pytest.mark.parametrize("keys", BAD_KEYS, ids=range(len(BAD_KEYS)))
async def test_no_refusal_shows_a_key(log: Log, keys: object) -> None:
    for more in ({"partner_keys": keys}, {"extra_data": keys}):
        if more == {"extra_data": {KEY: "x"}}:
            continue  # a name of extra_data is data
        with pytest.raises(Refused) as refusal:
            await log.submit(GRAPH, **more)  # type: ignore[arg-type]
        assert KEY not in f"{refusal.value!r} {refusal.value} {refusal.value.__cause__!r}"
    assert await partner_key_names(log) == []


def test_a_stored_body_is_checked_as_a_graph_is() -> None:
    graph = check_workflow(GRAPH)
    check_stored(graph.json.decode())
    check_stored(body_of(graph, EXTRA).json.decode())
    node = {"class_type": "A", "inputs": {}}
    check_stored(json.dumps({"extra_data": node, "workflow": node}))  # a graph with these names
    for wrong in ({"api_key_comfy_org": KEY}, {"partial_execution_targets": ["no such node"]}):
        with pytest.raises(Refused):
            check_stored(body_of(graph, wrong).json.decode())


async def test_inputs_are_in_the_event_sorted_and_unset_without_any(log: Log) -> None:
    files = {"9.image": FILE, "10.image": replace(FILE, name="mask.png")}
    made = await log.submit(GRAPH, inputs=files)
    event = (await job_events(log, made.job_id))[0]
    assert isinstance(event.event, Submitted)
    assert event.event.inputs == files
    assert list(event.event.inputs or ()) == ["10.image", "9.image"]
    plain = (await job_events(log, (await log.submit(OTHER, inputs={})).job_id))[0]
    assert b"inputs" not in plain.payload


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([], "pass a mapping"),
        ({"1.image": "photo.png"}, "pass an everfold.AssetInput"),
        ({7: FILE}, "it must be a string"),
        ({"": FILE}, "it must not be empty"),
        ({"1." + "x" * 300: FILE}, "the limit is 200"),
        ({"1.\x1b[2J": FILE}, "control characters"),
        ({"1.image": replace(FILE, name="a\nb")}, "control characters"),
        ({f"{n}.image": FILE for n in range(101)}, "the limit is 100 files"),
    ],
)
async def test_inputs_that_make_no_sense_are_refused(log: Log, inputs: object, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await log.submit(GRAPH, inputs=cast("Mapping[str, AssetInput]", inputs))
    assert await all_keys(log, "*head*") == []


async def test_the_files_of_an_open_job_are_named_beside_its_graph(log: Log) -> None:
    made = await log.submit(GRAPH, inputs={"1.a": FILE, "2.a": FILE}, extra_data=EXTRA)
    event = (await job_events(log, made.job_id))[0].event
    assert isinstance(event, Submitted)
    said = await command(log.redis, "HGET", log.keys.graph_assets(0), event.stored)
    assert isinstance(said, bytes)
    assert read_graph_assets(said).hashes == [FILE.hash]
    await log.submit(OTHER)
    assert await command(log.redis, "HLEN", log.keys.graph_assets(0)) == 1
