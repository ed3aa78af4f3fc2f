"""A graph that no known server would run is refused at submit, and only such a one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold import Everfold, IdempotencyConflict, InvalidName, NoServerCanRun
from everfold.streams.leases.backends import backend_entries, retire_backend
from everfold.submit_check import SubmitCheck
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace) as client:
        yield client


@pytest.fixture
async def stack(everfold: Everfold, start_program: StartProgram, tmp_path: Path) -> Stack:
    return Stack(everfold.log, start_program, tmp_path)


def inverted(**inputs: object) -> dict[str, object]:
    invert = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    saved = {"images": ["2", 0], "filename_prefix": "x"}
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0, **inputs}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": invert,
        "3": {"class_type": "SaveImage", "inputs": saved},
    }


def with_model(name: str) -> dict[str, object]:
    load = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
    image = {"samples": ["1", 0], "vae": ["1", 2]}
    return {**inverted(), "8": load, "9": {"class_type": "VAEDecode", "inputs": image}}


async def known(stack: Stack, count: int = 1) -> None:
    """Wait until it is published what so many backends have."""

    async def published() -> bool:
        entries = await backend_entries(stack.log)
        return len([entry for entry in entries if entry.object_info]) >= count

    await eventually(published, 20)


async def test_while_no_server_is_known_everything_is_taken(everfold: Everfold) -> None:
    made = await everfold.submit({"1": {"class_type": "NoSuchNode", "inputs": {}}})

    assert made.created


async def test_a_missing_node_is_refused_with_the_nearest_name_and_its_node(
    everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy())
    await known(stack)
    graph = inverted()
    graph["2"] = {"class_type": "ImageInvrt", "inputs": {"image": ["1", 0]}}
    with pytest.raises(NoServerCanRun) as refused:
        await everfold.submit(graph)

    assert str(refused.value) == "no server has node ImageInvrt (nearest: ImageInvert)"
    assert list(refused.value.node_errors) == ["2"]
    errors = refused.value.node_errors["2"]["errors"]
    assert isinstance(errors, list)
    assert [error["type"] for error in errors] == ["missing_node_type"]
    assert (await everfold.list()).jobs == []


async def test_a_missing_model_is_refused_with_the_nearest_name(
    everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy("--models", "checkpoints=v1-5.safetensors"))
    await known(stack)
    with pytest.raises(NoServerCanRun, match=r"no server has model v1-4\.safetensors .*v1-5"):
        await everfold.submit(with_model("v1-4.safetensors"))


async def test_what_one_server_has_is_taken(everfold: Everfold, stack: Stack) -> None:
    lacks, whole = await stack.comfy("--without", "ImageInvert"), await stack.comfy()
    await stack.runner(lacks, whole)
    await known(stack, 2)
    made = await everfold.submit(inverted())

    await stack.until(made.job_id, "succeeded")


async def test_a_value_that_every_server_refuses_is_refused_with_its_node(
    everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy(), await stack.comfy())
    await known(stack, 2)
    for on_missing in ("refuse", "wait"):
        with pytest.raises(NoServerCanRun, match=r"EmptyImage \(node 1\): Value 0 smaller"):
            await everfold.submit(inverted(width=0), on_missing=on_missing)
    made = await everfold.submit(inverted(width=0), validate=False)

    assert (await stack.ended(made.job_id)).status == "failed"


async def test_a_job_may_wait_for_a_server_that_has_what_it_needs(
    everfold: Everfold, stack: Stack
) -> None:
    await stack.runner(await stack.comfy("--without", "ImageInvert"))
    await known(stack)
    made = await everfold.submit(inverted(), on_missing="wait")
    assert (await everfold.get(made.job_id)).status == "queued"
    await stack.runner(await stack.comfy())

    await stack.until(made.job_id, "succeeded")


async def test_a_label_that_no_server_has_is_refused(everfold: Everfold, stack: Stack) -> None:
    await stack.runner(await stack.comfy())
    await known(stack)
    with pytest.raises(NoServerCanRun, match="no server has label gpu:24gb"):
        await everfold.submit(sleeper(0.1), needs=["gpu:24gb"])


async def test_what_was_installed_is_found_soon_after_a_refusal(
    everfold: Everfold, stack: Stack
) -> None:
    comfy = await stack.comfy("--without", "ImageInvert")
    await stack.runner(comfy)
    await known(stack)
    with pytest.raises(NoServerCanRun):
        await everfold.submit(inverted())
    comfy.kill()
    comfy.options = ()
    await comfy.up()

    async def is_taken() -> bool:
        try:
            return (await everfold.submit(inverted())).created
        except NoServerCanRun:
            return False

    assert await eventually(is_taken, 20)


async def test_a_retired_server_counts_no_more(everfold: Everfold, stack: Stack) -> None:
    comfy = await stack.comfy("--without", "ImageInvert")
    await stack.runner(comfy)
    await known(stack)
    await retire_backend(everfold.log, comfy.url)

    assert (await everfold.submit(inverted())).created


async def test_a_repeated_submit_finds_its_job_whatever_the_servers_have_by_now(
    everfold: Everfold, stack: Stack, redis_url: str, namespace: str
) -> None:
    first = await everfold.submit(inverted(), idempotency_key="k", user="ada")
    await stack.runner(await stack.comfy("--without", "ImageInvert"))
    await known(stack)
    async with Everfold.connect(redis_url, namespace=namespace) as later:
        again = await later.submit(inverted(), idempotency_key="k", user="ada")
        assert (again.job_id, again.created) == (first.job_id, False)
        with pytest.raises(NoServerCanRun):
            await later.submit(inverted(), idempotency_key="k", user="bob")


@pytest.mark.parametrize("blob", [b"", b"x", None])
async def test_a_damaged_or_lost_list_of_what_a_server_has_refuses_nothing(
    everfold: Everfold, stack: Stack, blob: bytes | None
) -> None:
    await stack.runner(await stack.comfy("--without", "ImageInvert"))
    await known(stack)
    for entry in await backend_entries(stack.log):
        key = stack.log.keys.object_info(entry.object_info)
        await stack.log.redis.execute_command(
            *(("DEL", key) if blob is None else ("SET", key, blob))
        )

    assert (await everfold.submit(inverted())).created


async def test_the_servers_are_read_again_only_now_and_then(
    everfold: Everfold, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.runner(await stack.comfy())
    await known(stack)
    reads = list[SubmitCheck]()
    read = SubmitCheck._read

    async def counted(self: SubmitCheck) -> None:
        reads.append(self)
        await read(self)

    monkeypatch.setattr(SubmitCheck, "_read", counted)
    for _ in range(50):
        await everfold.submit(inverted())

    assert 1 <= len(reads) <= 3


async def test_an_unknown_choice_is_an_error(everfold: Everfold) -> None:
    with pytest.raises(InvalidName, match="refuse, wait"):
        await everfold.submit(inverted(), on_missing="never")
    with pytest.raises(InvalidName, match="needs"):
        await everfold.submit(inverted(), needs="gpu")


async def test_other_labels_under_one_key_are_a_conflict_that_names_them(
    everfold: Everfold,
) -> None:
    await everfold.submit(inverted(), idempotency_key="k", needs=["a"])
    with pytest.raises(IdempotencyConflict, match="another needs"):
        await everfold.submit(inverted(), idempotency_key="k", needs=["b"])
