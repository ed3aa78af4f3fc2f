"""A job's story as one HTML file: it needs nothing else, and no text of anybody becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from everfold import Everfold as Client
from everfold import Failed, Failure, Producer
from everfold.event_text import event_lines
from everfold.job_story.page import story_page
from everfold.job_story.small_pictures import SmallPicture, small_pictures
from everfold.projector.job.job import Job
from everfold.streams.reading.reader import job_events
from tests.everfold.client.odd_values import GRAPH
from tests.everfold.commands.test_output_commands import PICTURE, client, job_with, store, told
from tests.everfold.running import Everfold, ended

__all__ = ["client", "store"]

pytestmark = pytest.mark.anyio

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x1b[31m‮"


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, name: str) -> list[str]:
        return [value or "" for what, value in self.attributes if what == name]


async def hostile_page(client: Client) -> str:
    made = await client.submit(GRAPH, user="<b>ada</b>", kind="k", metadata={"<i>": HOSTILE})
    producer = Producer(client.log, "runner")
    (lease,) = await producer.claim(1, wait_s=5)
    failure = Failure(code="execution_error", message=HOSTILE, node="3", node_class="<s>")
    await producer.finish(lease, Failed(failure=failure, attempt=1))
    records = await job_events(client.log, made.job_id)
    lines = event_lines(records)
    pictures = [SmallPicture(HOSTILE, HOSTILE, "image/png", PICTURE[:100])]
    return story_page(lines[-1].job, records, lines, pictures, 2_000_000_000_000, {})


async def test_no_text_of_anybody_becomes_markup(client: Client) -> None:
    text = await hostile_page(client)
    page = Page(text)

    assert page.tags.count("script") == 0
    assert page.tags.count("img") == 1
    assert not {"s"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "‮" not in text
    assert page.words.count("alert(1)") >= 3
    assert "runner takes the job" in page.words


async def test_a_page_loads_nothing_and_may_run_nothing(client: Client) -> None:
    page = Page(await hostile_page(client))

    assert page.values("src")
    assert all(one.startswith("data:image/png;base64,") for one in page.values("src"))
    assert page.values("href") == []
    assert not {"link", "iframe", "object", "base", "form"} & set(page.tags)
    assert page.values("content")[0].startswith("default-src 'none'")


async def test_pictures_stand_in_the_page_and_what_is_gone_is_told(client: Client) -> None:
    small = (await client.assets.put(PICTURE[:4000], name="j_x.png", owner="ada")).asset
    large = (await client.assets.put(PICTURE, name="j_y.png", owner="ada")).asset
    lost = told("z.png", subfolder="day", stored=False, why="gone")
    files = told("x.png", small), told("y.png", large), lost
    job = await client.get(await job_with(client, *files))
    found = await small_pictures(client.assets, job)

    assert [bool(one.address) for one in found] == [True, False, False]
    assert found[0].content == PICTURE[:4000]
    assert "image/png" in found[1].told
    assert found[2].told == "its server did not have it any more"

    await client.assets.remove(small.id)
    first = (await small_pictures(client.assets, job))[0]
    assert (first.address, "it cannot be had" in first.told) == ("", True)


async def test_the_page_of_a_job_is_written_by_a_command(
    everfold: Everfold, client: Client, store: Path, tmp_path: Path
) -> None:
    picture = (await client.assets.put(PICTURE[:4000], name="j_x.png", owner="ada")).asset
    job_id = await job_with(client, told("x.png", picture))
    file = tmp_path / "story.html"

    call = ("audit", "show", job_id, "--html", str(file), "--assets", str(store))
    printed = await ended(everfold(*call))
    wrong = await ended_badly(everfold, job_id, tmp_path / "none" / "story.html")

    page = Page(file.read_text())
    assert str(file) in printed[0]
    assert len(page.values("src")) == 1
    assert "submitted to queue default" in page.words
    assert page.tags.count("details") == 3
    assert "cannot be written" in wrong


async def ended_badly(everfold: Everfold, job_id: str, file: Path) -> str:
    program = everfold("audit", "show", job_id, "--html", str(file))
    await ended(program, 2)
    return "\n".join(program.error_lines)


def test_a_job_of_which_nothing_is_known_has_a_page() -> None:
    page = Page(story_page(Job(job_id="a"), [], [], [], 0, {}))

    assert "It has made no files." in page.words
