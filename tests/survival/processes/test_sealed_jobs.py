"""Sealed jobs run as others do, on runners that have the key, and leave nothing plain behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest

from everfold.assets.store_of import folder_of
from everfold.client import Everfold
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.verify import verify
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import GiveUp, Subscription
from everfold.streams.appending.log import Log
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.errors import SealKeyMissing
from everfold.streams.events.event import Policy
from everfold.streams.sealing.user_keys import drop_key
from everfold.web.listing import Listing
from tests.support.everything import everything_stored
from tests.support.network.ciphers import OTHER_SEAL_KEY, SEAL_KEY
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WORD = "violet-hippopotamus"
WITH_KEY = {"EVERFOLD_SEAL_KEY": SEAL_KEY}


@pytest.fixture
async def everfold(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Everfold]:
    monkeypatch.setenv("EVERFOLD_SEAL_KEY", SEAL_KEY)
    async with Everfold.connect(redis_url, namespace=namespace) as everfold:
        yield everfold


@pytest.fixture
def sealed(everfold: Everfold, start_program: StartProgram, tmp_path: Path) -> Stack:
    return Stack(everfold.log, start_program, tmp_path, environ=WITH_KEY)


def marked(seconds: float = 0.1) -> dict[str, object]:
    """Return a graph with the word in its file name and in a text."""
    graph = sleeper(seconds)
    graph["3"]["inputs"]["filename_prefix"] = WORD  # type: ignore[index]
    graph["4"] = {
        "class_type": "PreviewAny", "inputs": {"source": WORD}, "_meta": {"title": WORD}
    }  # fmt: skip
    return graph


def failing(message: str) -> dict[str, object]:
    """Return the same whose node fails."""
    given = {"image": ["1", 0], "message": message, "seconds": 0.1}
    return {**marked(), "2": {"class_type": "JTRaise", "inputs": given}}


async def submitted(
    everfold: Everfold, graph: dict[str, object], policy: Policy | None = None
) -> str:
    made = await everfold.submit(
        graph, user="ada", metadata={"about": WORD}, validate=False, policy=policy
    )
    return made.job_id


async def test_a_sealed_job_runs_and_its_word_is_in_no_key(
    everfold: Everfold, sealed: Stack
) -> None:
    comfy = await sealed.comfy()
    await sealed.runner(comfy)
    await sealed.projector()
    told: list[Delivery] = []

    @Subscription("notes")
    async def notes(delivery: Delivery) -> None:
        told.append(delivery)

    job_id = await submitted(everfold, marked())
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(everfold.consume, notes))
        job = await everfold.wait(job_id, timeout_s=30)
        await eventually(lambda: _ended(told), 20)
        tasks.cancel_scope.cancel()

    assert job.status == "succeeded", job
    assert job.metadata == {"about": WORD}
    assert WORD in str(job.outputs)
    assert [one.job.metadata for one in told] == [{"about": WORD}] * len(told)
    assert WORD.encode() in told[-1].record.payload
    (listed,) = (await everfold.list(user="ada")).jobs
    assert (await everfold.get(job_id)).outputs == listed.outputs == job.outputs
    assert WORD.encode() not in await everything_stored(everfold.log)
    assert (await verify(everfold.log)).is_sound


async def _ended(told: Sequence[Delivery]) -> bool:
    return bool(told) and told[-1].type == "job.succeeded"


async def test_what_a_subscriber_s_error_says_is_sealed_too(
    everfold: Everfold, sealed: Stack
) -> None:
    @Subscription("notes")
    async def notes(delivery: Delivery) -> None:
        raise GiveUp(f"cannot do with {delivery.job.metadata}")

    job_id = await submitted(everfold, marked())
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(everfold.consume, notes))
        (held,) = await eventually(partial(held_jobs, everfold.log, "notes"), 20)
        tasks.cancel_scope.cancel()

    assert (held.job_id, WORD in held.held.why) == (job_id, True)
    assert WORD.encode() not in await everything_stored(everfold.log)


async def test_acts_of_operators_hold_no_content(everfold: Everfold, sealed: Stack) -> None:
    comfy = await sealed.comfy()
    await sealed.runner(comfy)
    job_id = await submitted(everfold, marked())
    await everfold.wait(job_id, timeout_s=30)

    again = await everfold.rerun(job_id, {"3.filename_prefix": f"{WORD} again"})
    await everfold.rerun_many([job_id], {"3.filename_prefix": f"{WORD} again"})
    await everfold.cancel_many(JobFilter(metadata={"about": WORD}), reason=WORD)
    job = await everfold.wait(again, timeout_s=30)

    assert f"{WORD} again" in str(job.outputs)
    assert job.metadata == {"about": WORD}
    details = [act.detail for act in await everfold.acts()]
    assert ["3.filename_prefix" in detail for detail in details] == [True, True, False]
    assert WORD.encode() not in await everything_stored(everfold.log)


async def test_a_failed_one_tells_why_to_those_with_the_key_alone(
    everfold: Everfold, sealed: Stack, redis_url: str
) -> None:
    comfy = await sealed.comfy()
    await sealed.runner(comfy)
    job_id = await submitted(everfold, failing(WORD), Policy(retries=0))

    job = await everfold.wait(job_id, timeout_s=30)
    assert job.status == "failed"
    async with Log.open(redis_url, namespace=everfold.log.keys.namespace) as log:
        stored = (await log.opened(await sealed.job(job_id), job_id)).error
    assert stored is not None
    assert is_sealed(stored.message)
    assert job.error is not None
    assert not is_sealed(job.error.message)
    assert WORD.encode() not in await everything_stored(everfold.log)


async def test_it_is_found_by_its_error_with_the_key_and_refused_without(
    everfold: Everfold, sealed: Stack, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed.runner(await sealed.comfy())
    await sealed.projector()
    job_id = await submitted(everfold, failing(f"no {WORD} here"))
    await sealed.until(job_id, "failed")
    asked = JobFilter(error=WORD.upper())
    listing = Listing(everfold)

    async def is_listed() -> bool:
        return [job.job_id for job in (await everfold.page(asked)).jobs] == [job_id]

    await eventually(is_listed, 10)
    assert (await everfold.page(JobFilter(error="something else"))).jobs == []
    listed = (await listing.page(asked, None, 50)).jobs
    assert [(job.job_id, job.error and WORD in job.error.message) for job in listed] == [
        (job_id, True)
    ]

    monkeypatch.delenv("EVERFOLD_SEAL_KEY")
    async with Everfold.connect(redis_url, namespace=everfold.log.keys.namespace) as keyless:
        with pytest.raises(SealKeyMissing, match="EVERFOLD_SEAL_KEY"):
            await keyless.page(asked)
        with pytest.raises(SealKeyMissing, match="EVERFOLD_SEAL_KEY"):
            await Listing(keyless).page(asked, None, 50)
        assert len((await keyless.page(JobFilter(statuses=("failed",)))).jobs) == 1


@pytest.mark.parametrize("key", ["", OTHER_SEAL_KEY])
async def test_a_runner_without_the_key_releases_it_and_one_with_it_takes_it(
    everfold: Everfold, sealed: Stack, start_program: StartProgram, tmp_path: Path, key: str
) -> None:
    comfy = await sealed.comfy()
    without = Stack(everfold.log, start_program, tmp_path, environ={"EVERFOLD_SEAL_KEY": key})
    await without.runner(comfy)
    job_id = await submitted(everfold, marked())

    await sealed.until_event(job_id, "released")
    job = await everfold.get(job_id)
    assert "EVERFOLD_SEAL_KEY" in job.reason
    await sealed.runner(comfy)
    assert (await everfold.wait(job_id, timeout_s=30)).status == "succeeded"
    assert WORD.encode() not in await everything_stored(everfold.log)


async def test_a_job_whose_key_was_thrown_away_fails_and_says_so(
    everfold: Everfold, sealed: Stack
) -> None:
    """As one that was submitted at the moment in which its user was erased."""
    comfy = await sealed.comfy()
    job_id = await submitted(everfold, marked())
    await drop_key(everfold.log.redis, everfold.log.keys, "ada")
    await sealed.runner(comfy)

    job = await everfold.wait(job_id, timeout_s=30)
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", "workflow_gone")
    assert "erased" in job.error.message
    assert await comfy.executions() == []


async def test_a_runner_without_the_key_leaves_a_running_job_to_one_that_has_it(
    everfold: Everfold, sealed: Stack, start_program: StartProgram, tmp_path: Path
) -> None:
    comfy = await sealed.comfy()
    first = await sealed.runner(comfy)
    job_id = await submitted(everfold, marked(6.0))
    await sealed.until(job_id, "running")
    await Stack(everfold.log, start_program, tmp_path, environ={"EVERFOLD_SEAL_KEY": ""}).runner(
        comfy
    )
    first.kill()
    await sealed.until_event(job_id, "released")
    await sealed.runner(comfy)

    job = await everfold.wait(job_id, timeout_s=60)
    assert job.status == "succeeded"
    assert len(await comfy.executions()) == 1
    assert WORD.encode() not in await everything_stored(everfold.log)


async def test_a_sealed_job_sends_its_files_with_their_endings_and_is_known_again(
    everfold: Everfold, sealed: Stack, tmp_path: Path
) -> None:
    comfy = await sealed.comfy()
    store = tmp_path / "assets"
    async with Everfold.connect(
        sealed.redis_url, namespace=sealed.log.keys.namespace, assets=store
    ) as client:
        await client.log.make()  # the folder is named after the namespace as it was made
        await sealed.runner(comfy, assets=str(tmp_path / "assets" / folder_of(client.log)))
        clip = tmp_path / f"{WORD}.mp4"
        clip.write_bytes(bytes(1000))
        graph = {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}
        submit = partial(
            client.submit, graph, user="ada", inputs={"1.source": clip}, idempotency_key="k"
        )
        made = await submit()
        assert (await submit()).job_id == made.job_id
        job = await client.wait(made.job_id, timeout_s=30)
    assert job.error is None, job.error
    (name,) = cast("list[str]", job.outputs["1"]["text"])
    assert name.startswith("everfold/")
    assert name.endswith(".mp4")
    assert job.inputs["1.source"].name == f"{WORD}.mp4"
