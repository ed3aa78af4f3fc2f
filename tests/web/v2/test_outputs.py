"""What a job has made, also what is no file, and what was not stored."""

from __future__ import annotations

import base64

import httpx
import pytest

from everfold.projector.job.job import Job
from everfold.web.v2.job_answer import Place as AnswerPlace
from everfold.web.v2.job_answer import job_answer, progress_of
from everfold.web.v2.output_ids import Place, id_of, place_of
from everfold.web.v2.values import values_of
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.site import Site

PLACE = AnswerPlace(base="http://a/api/v2", kept_ms=1000, now_ms=5_000)


@pytest.mark.parametrize(
    "place",
    [Place("job", "9", "text", 0), Place("a:b_c", "1/../2", "\u00e4 \n", 7), Place("", "", "", 0)],
)
def test_an_id_names_its_place_and_can_stand_in_any_path(place: Place) -> None:
    made = id_of(place)

    assert place_of(made) == place
    assert made.replace(".", "").replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "text",
    ["", "job.", "job.!", "job.AAAA", "x." + id_of(Place("a", "b", "c", 0))[4:],
     "job." + "A" * 9999, id_of(Place("a", "b", "c", 0)) + "=",
     "job." + base64.urlsafe_b64encode(b"[1]").decode()],
)  # fmt: skip
def test_what_is_no_id_names_nothing(text: str) -> None:
    assert place_of(text) is None


def test_texts_tables_and_numbers_are_values_and_flags_are_none() -> None:
    outputs: dict[str, dict[str, object]] = {
        "1": {"text": ["a", "", "b"], "animated": [True]},
        "2": {"table": [[1, 2], {"x": None}], "count": 7},
        "3": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]},
    }

    found = values_of(Job(job_id="j", outputs=outputs))

    assert [(one.name, one.media_type, one.content) for one in found] == [
        ("1_text_0.txt", "text/plain", b"a"),
        ("1_text_2.txt", "text/plain", b"b"),
        ("2_table_0.json", "application/json", b"[1,2]"),
        ("2_table_1.json", "application/json", b'{"x":null}'),
        ("2_count_0.json", "application/json", b"7"),
    ]


def test_a_hostile_name_is_no_path_and_a_file_still_to_be_stored_is_no_output() -> None:
    images = [{"filename": "../../etc/passwd", "subfolder": "..", "type": "output", "why": "gone"}]
    ended = Job(job_id="j", status="succeeded", ended_at_ms=1, outputs={"3": {"images": images}})
    images = [{"filename": "a.png", "subfolder": "", "type": "output"}]
    still_open = Job(job_id="j", status="running", outputs={"3": {"images": images}})

    [output] = job_answer(ended, None, PLACE).outputs

    assert (output.name, output.why, output.size_bytes, output.hash) == ("passwd", "gone", 0, None)
    assert job_answer(still_open, None, PLACE).outputs == []


@pytest.mark.anyio
async def test_a_picture_that_was_not_stored_is_listed_and_says_why(
    site: Site, client: httpx.AsyncClient
) -> None:
    await site.stack.runner(await site.stack.comfy())  # it has no store
    job = (await client.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})).json()

    async def outputs() -> list[dict[str, str]]:
        found: list[dict[str, str]] = (await client.get(job["urls"]["self"])).json()["outputs"]
        return found

    [output] = await eventually(outputs, 30)
    content = await client.get(output["url"])

    assert (output["type"], output["why"], output["name"][:6]) == ("image", "kept", "stack_")
    assert (content.status_code, content.json()["error"]["details"]["why"]) == (404, "kept")


def test_progress_without_a_node_that_runs_has_no_message() -> None:
    running = Job(job_id="a", started_at_ms=1, node="2", node_class="KSampler", step=3, steps=12)
    canceled = Job(job_id="a", started_at_ms=1, step=3, steps=12)

    told = [progress_of(job) for job in (running, canceled)]

    assert [one and one.message for one in told] == ["KSampler 3/12", None]
