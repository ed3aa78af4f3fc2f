"""The stream of a job's events, as comfy-sdk and browsers read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import anyio.to_thread
import httpx
import pytest
from comfy_low.errors import NotFound
from comfy_sdk import AsyncComfy, Comfy
from comfy_sdk.events import Event, OutputReady, Preview, Progress, StatusChange

from everfold import Everfold
from everfold.streams.events.event import Rewound
from everfold.streams.live.live_message import Preview as SentPreview
from everfold.web.v2.stream.job_stream import JobStream
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.site import Site, client_of, serving
from tests.web.v2.graphs import failing, short, talking
from tests.web.v2.working import working

pytestmark = pytest.mark.anyio


async def frames(
    client: httpx.AsyncClient, url: str, last: str = ""
) -> AsyncIterator[tuple[str, str, dict[str, object]]]:
    """Yield id, name and content of each event."""
    headers = {"Last-Event-ID": last} if last else {}
    async with client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        number = name = ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                number = value
            if field == "event":
                name = value
            if field == "data":
                yield number, name, json.loads(value)
                number = ""


async def test_a_job_is_followed_from_the_queue_to_its_picture(site: Site, sdk: AsyncComfy) -> None:
    job = await sdk.submit(short(1.0))
    seen = list[Event]()

    async def follow() -> None:
        async for event in job.events():
            seen.append(event)

    following = asyncio.create_task(follow())
    await eventually(lambda: seen, 10)
    await working(site)
    await asyncio.wait_for(following, 30)

    statuses = [one for one in seen if isinstance(one, StatusChange)]
    values = [one.value for one in seen if isinstance(one, Progress)]
    assert statuses[0] == StatusChange("queued", 1)
    assert [one.status for one in statuses if one.status != "queued"] == ["running", "succeeded"]
    assert values == sorted(values)
    assert values[-1] == 1.0
    assert len(values) > 2
    assert isinstance(seen[-2], OutputReady)
    assert seen[-1] == StatusChange("succeeded")
    picture = await seen[-2].output.to_bytes()  # type: ignore[misc]
    assert picture[:4] == b"\x89PNG"


async def test_the_blocking_client_follows_a_job_that_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await working(site)
    monkeypatch.setenv("COMFY_BASE_URL", site.url)

    def follow() -> list[Event]:
        with Comfy() as client:
            return list(client.submit(failing()).events())

    seen = await anyio.to_thread.run_sync(follow)

    assert seen[-1] == StatusChange("failed")


async def test_who_comes_late_gets_the_outputs_before_the_end(site: Site, sdk: AsyncComfy) -> None:
    await working(site)
    job = await (await sdk.submit(talking("late"))).result()

    seen = [event async for event in job.events()]

    assert [type(one) for one in seen] == [Progress, OutputReady, StatusChange]
    assert await seen[1].output.to_bytes() == b"late"  # type: ignore[misc,union-attr]


async def test_a_waiting_job_tells_when_it_moves_up(site: Site, sdk: AsyncComfy) -> None:
    first, second = await sdk.submit(short()), await sdk.submit(short())
    positions = list[int | None]()

    async def follow() -> None:
        async for event in second.events():
            if isinstance(event, StatusChange):
                positions.append(event.queue_position)

    following = asyncio.create_task(follow())
    await eventually(lambda: positions == [2], 10)
    await first.cancel()
    await eventually(lambda: positions == [2, 1], 10)
    await second.cancel()
    await asyncio.wait_for(following, 10)
    assert positions == [2, 1, None, None]  # canceling, then canceled


async def test_a_preview_is_sent_once_for_all(site: Site, sdk: AsyncComfy) -> None:
    job = await sdk.submit(short())
    seen = list[Preview]()

    async def follow() -> None:
        async for event in job.events():
            if isinstance(event, Preview):
                seen.append(event)

    async with site.gateway.feeds.open(job.id) as feed:
        following = [asyncio.create_task(follow()) for _ in range(3)]
        await eventually(lambda: [s.readers for s in streams(site)] == [3], 10)
        feed.previews.add(SentPreview("2", "image/jpeg", b"\xff\xd8\xff"))
        await eventually(lambda: len(seen) == 3, 10)
        await job.cancel()
        await asyncio.wait_for(asyncio.gather(*following), 10)

    assert seen[0] == Preview("2", "image/jpeg", b"\xff\xd8\xff")
    await eventually(lambda: not streams(site), 10)


async def test_previews_of_a_node_reach_the_client(site: Site, sdk: AsyncComfy) -> None:
    await working(site)
    workflow = short(3.0)
    workflow.set_input("2", "preview", True)

    seen = [event async for event in (await sdk.submit(workflow)).events()]

    previews = [event for event in seen if isinstance(event, Preview)]
    assert previews
    assert (previews[0].content_type, previews[0].data[:2]) == ("image/jpeg", b"\xff\xd8")
    assert seen[-1] == StatusChange("succeeded")


def streams(site: Site) -> list[JobStream]:
    return list(site.gateway.job_streams._streams.values())


async def test_thirty_watchers_of_one_job_all_get_its_end(site: Site, sdk: AsyncComfy) -> None:
    await working(site)
    job = await sdk.submit(short(1.0))

    async def follow() -> list[Event]:
        return [event async for event in (await sdk.jobs.get(job.id)).events()]

    seen = await asyncio.wait_for(asyncio.gather(*(follow() for _ in range(30))), 60)

    assert [events[-1] for events in seen] == [StatusChange("succeeded")] * 30
    assert all(isinstance(events[-2], OutputReady) for events in seen)


async def test_a_reader_goes_on_at_another_gateway(
    site: Site, everfold: Everfold, sdk: AsyncComfy, client: httpx.AsyncClient
) -> None:
    await working(site)
    job = await sdk.submit(short(1.0))
    path = f"/api/v2/jobs/{job.id}/events"
    all_frames = [one async for one in frames(client, path)]
    numbers = [number for number, _, _ in all_frames if number]
    middle = numbers[len(numbers) // 2]
    cut = max(i for i, (number, _, _) in enumerate(all_frames) if number == middle)

    async with serving(everfold, site.stack) as other, client_of(other) as second:
        rest = [one async for one in frames(second, path, middle)]
        over = await second.get(path, headers={"Last-Event-ID": numbers[-1]})

    def told(found: list[tuple[str, str, dict[str, object]]]) -> list[object]:
        plain = [(name, dict(content)) for _, name, content in found]
        for _, content in plain:
            content.pop("url", None)
            content.pop("url_expires_at", None)
        return [one for one in plain if one[0] != "preview"]

    assert told(rest) == told(all_frames[cut + 1 :])
    assert over.status_code == 204


async def test_a_stream_of_nobodys_job_is_not_found(
    sdk: AsyncComfy, client: httpx.AsyncClient
) -> None:
    with pytest.raises(NotFound):
        async for _ in sdk._low.get_job_events("nobodys"):
            pass
    job = await sdk.submit(short())
    odd = await client.get(f"/api/v2/jobs/{job.id}/events", headers={"Last-Event-ID": "seven"})
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "invalid_request")


async def test_a_reader_ahead_of_what_the_server_has_kept_gets_the_job_as_it_is(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.log.append(job_id, Rewound(seen_seq=18, found_seq=1), epoch=0)
    await everfold.cancel(job_id)
    path = f"/api/v2/jobs/{job_id}/events"

    found = [one async for one in frames(client, path, "18")]

    assert found[-1][2]["status"] == "canceled"
