"""`everfold submit --input`: files from paths, URLs and the store, and what is said where not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import anyio
import pytest
from PIL import Image

from everfold.simulator import simulate
from everfold.streams.appending.log import Log
from tests.everfold.assets.test_fetching import Site, site
from tests.everfold.running import Everfold, ended, objects
from tests.support.job_files import RED, picture
from tests.support.wait import eventually

__all__ = ["site"]

pytestmark = pytest.mark.anyio

GRAPH = {
    "10": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "11": {"class_type": "LoadImageMask", "inputs": {"image": "b.png", "channel": "red"}},
    "12": {"class_type": "PreviewImage", "inputs": {"images": ["10", 0]}},
}


@pytest.fixture
def graph(tmp_path: Path) -> str:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    return str(path)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "store")


async def test_files_of_all_kinds_go_with_a_job(
    everfold: Everfold, graph: str, place: str, tmp_path: Path, site: Site
) -> None:
    (tmp_path / "photo.png").write_bytes(b"photo")
    (tmp_path / "mask.png").write_bytes(b"mask")
    put = await ended(everfold("assets", "put", str(tmp_path / "mask.png"), "--assets", place))
    reference = put[0].split()[0]
    (made,) = await objects(
        everfold(
            *("submit", graph, "--assets", place, "--json"),
            *("--input", f"10.image={tmp_path / 'photo.png'}", "--input", f"11.image={reference}"),
        )
    )
    (job,) = await objects(everfold("jobs", "show", str(made["job_id"]), "--json"))
    inputs = job["inputs"]
    assert isinstance(inputs, dict)
    assert {at: one["name"] for at, one in inputs.items()} == {
        "10.image": "photo.png",
        "11.image": "mask.png",
    }
    shown = await ended(everfold("jobs", "show", str(made["job_id"])))
    assert any(line.split()[:5] == ["input", "10.image", "photo.png", "5", "B"] for line in shown)
    url = ("--input", f"10.image={site.url}/from.png?a=b")
    (made,) = await objects(
        everfold("submit", graph, "--assets", place, "--json", *url, "--allow-private")
    )
    (job,) = await objects(everfold("jobs", "show", str(made["job_id"]), "--json"))
    assert "from.png" in str(job["inputs"])


async def test_a_picture_goes_in_and_comes_out(
    everfold: Everfold, place: str, tmp_path: Path
) -> None:
    photo, graph = tmp_path / "photo.png", tmp_path / "graph.json"
    photo.write_bytes(picture(RED))
    saved = {"images": ["10", 0], "filename_prefix": "x"}
    nodes = {"10": GRAPH["10"], "12": {"class_type": "SaveImage", "inputs": saved}}
    graph.write_text(json.dumps(nodes))
    async with simulate() as comfy:
        up = everfold("up", "--assets", place, COMFYUI_URL=comfy.url)
        await up.line("everfold submit")
        submitted = everfold(
            *("submit", str(graph), "--input", f"10.image={photo}", "--assets", place),
            *("--wait", "--json"),
        )
        told = await objects(submitted)
        assert told[-1]["status"] == "succeeded"
        job_id = str(told[-1]["job_id"])
        to = str(tmp_path / "out")
        await ended(everfold("jobs", "outputs", job_id, "--to", to, "--assets", place))
        up.send(signal.SIGINT)
        await ended(up)
    (made,) = (tmp_path / "out").iterdir()
    with Image.open(made) as image:
        assert image.convert("RGB").getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("10.image", "write it as NODE.INPUT=FILE"),
        ("10.image=", "write it as NODE.INPUT=FILE"),
        ("=photo.png", "write it as NODE.INPUT=FILE"),
        ("10.image=no such file", "input 10.image is not taken: 'no such file' cannot be read"),
        ("10.images=photo.png", "node 10 has no such input; it has image"),
        ("12.images=photo.png", "it is linked to another node"),
        ("10.image=http://127.0.0.1:1/x?token=hidden", "allow private ones with --allow-private"),
        (f"10.image=everfold:{'0' * 8}-0000-0000-0000-{'0' * 12}", "there is no asset"),
    ],
)
async def test_what_is_no_file_is_refused_in_one_sentence(
    everfold: Everfold, log: Log, graph: str, place: str, given: str, why: str
) -> None:
    assert log.keys.namespace, "there is one"
    program = everfold("submit", graph, "--assets", place, "--input", given)
    assert await program.end(within_s=20) == 2, program
    told = "\n".join(program.error_lines)
    assert why in told
    assert "hidden" not in told
    assert "Traceback" not in told


async def test_one_place_takes_one_file_of_the_size_that_is_allowed(
    everfold: Everfold, graph: str, place: str, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(bytes(2000))
    once = ("--input", f"10.image={photo}")
    twice = everfold("submit", graph, "--assets", place, *once, *once)
    assert await twice.end(within_s=20) == 2
    assert "it is given a file twice" in "\n".join(twice.error_lines)
    small = everfold("submit", graph, "--assets", place, *once, "--input-limit-bytes", "1000")
    assert await small.end(within_s=20) == 2
    assert "it has 2,000 bytes; the limit is 1,000" in "\n".join(small.error_lines)


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_two_interrupts_end_a_submit_of_a_large_file_at_once(
    everfold: Everfold, graph: str, tmp_path: Path, pause_s: float
) -> None:
    large = tmp_path / "large.bin"
    large.touch()
    os.truncate(large, 3 * 2**30)
    store = tmp_path / "store"
    program = everfold("submit", graph, "--input", f"10.image={large}", "--assets", str(store))
    await eventually(lambda: [*store.rglob("*.part")], 30)
    program.send(signal.SIGINT)
    await anyio.sleep(pause_s)
    program.send(signal.SIGINT)
    assert await program.end(within_s=10) == 130, program
    assert not any("Traceback" in line for line in program.error_lines), program
