"""Every node class that the simulator lists runs, and the results follow from the inputs."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from everfold.simulator.nodes.catalogue import NODES
from everfold.simulator.nodes.model_nodes import MODEL_NODES
from tests.simulator.client import Client
from tests.simulator.graphs import Graph, default_graph, graph_of, image_to_image, node
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

FAIL_ON_PURPOSE = {"JTRaise", "JTOom"}
END_THE_SERVER = {"JTExit", "JTBadUI"}
"""See the test of traps."""


def png(color: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


async def upload(comfy: Client, name: str, content: bytes, **more: str) -> str:
    answer = await comfy.http.post("/upload/image", files={"image": (name, content)}, data=more)
    return str(answer.json()["name"])


async def posted(comfy: Client, graph: Graph) -> str:
    answer = await comfy.post(graph)
    assert answer.status_code == 200, answer.text
    assert answer.json()["node_errors"] == {}
    return str(answer.json()["prompt_id"])


async def outcome(comfy: Client, prompt_id: str) -> str:
    status = (await comfy.until_in_history(prompt_id, within_s=60))["status"]
    assert isinstance(status, dict)
    return str(status["messages"][-1][0])


async def picture(comfy: Client, graph: Graph, end: str = "9") -> Image.Image:
    """Run a graph and return the picture that its node `end` saved."""
    prompt_id = await posted(comfy, graph)
    assert await outcome(comfy, prompt_id) == "execution_success"
    outputs = (await comfy.until_in_history(prompt_id))["outputs"]
    assert isinstance(outputs, dict)
    answer = await comfy.http.get("/view", params=outputs[end]["images"][0])
    assert answer.headers["content-type"] == "image/png"
    return Image.open(BytesIO(answer.content))


async def test_every_class_that_is_listed_runs(comfy: Client) -> None:
    await upload(comfy, "in.png", png((200, 10, 10, 128)))
    listed = await comfy.get("/object_info")
    assert isinstance(listed, dict)

    prompts = {
        name: await posted(comfy, graph_of(name, NODES, comfy.simulator.folders))
        for name in listed
        if name not in END_THE_SERVER
    }

    ends = {name: await outcome(comfy, prompt_id) for name, prompt_id in prompts.items()}
    failing = {name for name, end in ends.items() if end != "execution_success"}
    assert failing == FAIL_ON_PURPOSE
    assert set(ends.values()) == {"execution_success", "execution_error"}


async def test_a_description_has_all_that_a_client_of_comfyui_reads(comfy: Client) -> None:
    listed = await comfy.get("/object_info")
    assert isinstance(listed, dict)

    for name, told in listed.items():
        assert told["python_module"].partition(".")[0] in {"nodes", "comfy_extras", "custom_nodes"}
        assert told["category"]
        assert len(told["output"]) == len(told["output_name"]) == len(told["output_is_list"])
        assert {key: list(group) for key, group in told["input"].items()} == told["input_order"]
        assert await comfy.get(f"/object_info/{name}") == {name: told}
    loader = listed["CheckpointLoaderSimple"]
    assert loader["python_module"] == "nodes"
    assert loader["input"]["required"]["ckpt_name"][0] == await comfy.get("/models/checkpoints")


async def test_the_default_graph_samples_step_by_step(comfy: Client) -> None:
    async with comfy.socket("c") as socket:
        answer = await comfy.post(default_graph(steps=5), client_id="c")
        prompt_id = answer.json()["prompt_id"]
        await socket.until_end_of(prompt_id)

    told = [m["data"] for m in socket.of(prompt_id) if m["type"] == "progress"]
    assert [(data["node"], data["value"], data["max"]) for data in told] == [  # type: ignore[index]
        ("3", step, 5) for step in range(1, 6)
    ]


async def test_a_picture_follows_from_every_input(comfy: Client) -> None:
    first = await picture(comfy, default_graph(seed=1))
    assert first.size == (64, 48)
    assert '"class_type": "KSampler"' in first.text["prompt"]  # type: ignore[attr-defined]
    other_words = default_graph(seed=1)
    other_words["6"] = node("CLIPTextEncode", text="a tin cup", clip=["4", 1])
    other_model = default_graph(seed=1, checkpoint="sd_xl_base_1.0.safetensors")

    again = await picture(comfy, default_graph(seed=1))
    others = [
        await picture(comfy, graph)
        for graph in (default_graph(seed=2), default_graph(seed=1, steps=6), other_words)
    ] + [await picture(comfy, other_model)]

    assert again.tobytes() == first.tobytes()
    assert len({image.tobytes() for image in (first, *others)}) == 5


async def test_a_little_denoise_leaves_the_uploaded_picture_visible(comfy: Client) -> None:
    name = await upload(comfy, "red.png", png((250, 0, 0)))

    unchanged = await picture(comfy, image_to_image(name, denoise=0.0))
    changed = await picture(comfy, image_to_image(name, denoise=0.2))

    assert unchanged.getpixel((10, 10)) == (250, 0, 0)
    red, green, blue = changed.getpixel((10, 10))  # type: ignore[misc]
    assert red > 190
    assert (red, green, blue) != (250, 0, 0)


async def test_only_the_masked_part_is_painted_anew(comfy: Client) -> None:
    half = Image.new("RGBA", (64, 48), (250, 0, 0, 255))
    half.paste((250, 0, 0, 0), (0, 0, 32, 48))
    buffer = BytesIO()
    half.save(buffer, "PNG")
    name = await upload(comfy, "half.png", buffer.getvalue())
    graph = image_to_image(name, denoise=1.0)
    graph["5"] = node(
        "VAEEncodeForInpaint", pixels=["1", 0], vae=["4", 2], mask=["1", 1], grow_mask_by=6
    )

    painted = await picture(comfy, graph)

    assert painted.getpixel((60, 20)) == (250, 0, 0)
    assert painted.getpixel((4, 20)) != (250, 0, 0)


async def test_a_file_that_was_overwritten_is_read_again(comfy: Client) -> None:
    graph = {"1": node("LoadImage", image="a.png"), "2": node("PreviewImage", images=["1", 0])}
    colors = []
    for color in ((250, 0, 0), (0, 250, 0)):
        await upload(comfy, "a.png", png(color), overwrite="true")
        colors.append((await picture(comfy, graph, end="2")).getpixel((0, 0)))

    assert colors == [(250, 0, 0), (0, 250, 0)]


async def test_frames_become_one_animated_file(comfy: Client) -> None:
    graph = default_graph()
    graph["5"] = node("EmptyHunyuanLatentVideo", width=64, height=48, length=5, batch_size=1)
    graph["9"] = node(
        *("SaveAnimatedWEBP",),
        images=["8", 0],
        filename_prefix="video/clip",
        fps=6.0,
        lossless=True,
        quality=80,
        method="default",
    )
    prompt_id = await posted(comfy, graph)
    entry = await comfy.until_in_history(prompt_id)

    saved = {"filename": "clip_00001_.webp", "subfolder": "video", "type": "output"}
    assert entry["outputs"] == {"9": {"images": [saved], "animated": [True]}}
    answer = await comfy.http.get("/view", params=saved)
    assert Image.open(BytesIO(answer.content)).n_frames == 5  # type: ignore[attr-defined]


async def test_a_file_that_a_server_lacks_is_refused_in_comfyui_s_words(comfy: Client) -> None:
    answer = await comfy.post(default_graph(checkpoint="no.safetensors"))
    sampler = default_graph()
    sampler["3"]["inputs"]["sampler_name"] = "guess"  # type: ignore[index]
    missing = await comfy.post(image_to_image("no.png", denoise=1.0))

    assert answer.status_code == missing.status_code == 400
    assert answer.json()["error"]["type"] == "prompt_outputs_failed_validation"
    (model,) = answer.json()["node_errors"]["4"]["errors"]
    checkpoints = await comfy.get("/models/checkpoints")
    assert model["type"] == "value_not_in_list"
    assert model["details"] == f"ckpt_name: 'no.safetensors' not in {checkpoints}"
    assert model["extra_info"]["received_value"] == "no.safetensors"
    assert model["extra_info"]["input_config"][0] == checkpoints
    (choice,) = (await comfy.post(sampler)).json()["node_errors"]["3"]["errors"]
    assert choice["details"].startswith("sampler_name: 'guess' not in (list of length ")
    assert choice["extra_info"]["input_config"] is None
    (file,) = missing.json()["node_errors"]["1"]["errors"]
    assert file["type"] == "custom_validation_failed"
    assert file["details"] == "image - Invalid image file: no.png"


async def test_a_sampler_is_interrupted_between_two_steps(comfy: Client) -> None:
    prompt_id = await posted(comfy, default_graph(steps=10_000))
    await eventually(lambda: comfy.simulator.queue.running)
    await comfy.http.post("/interrupt", json={"prompt_id": prompt_id})

    assert await outcome(comfy, prompt_id) == "execution_interrupted"


async def test_a_loader_is_listed_with_the_files_that_it_accepts(comfy: Client) -> None:
    listed = await comfy.get("/object_info")
    assert isinstance(listed, dict)
    files = [
        choice
        for name in MODEL_NODES
        for kind, _ in (spec[:2] for spec in listed[name]["input"]["required"].values())
        if isinstance(kind, list)
        for choice in kind
        if "." in choice
    ]

    assert len(files) > 8
    assert (await comfy.http.get("/models/nothing")).status_code == 404


async def test_noise_is_a_picture_or_a_video_of_about_the_wanted_size(comfy: Client) -> None:
    def noise(kind: str, seed: int) -> Graph:
        made = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=seed)}
        inputs = {"kib": 3000, "kind": kind, "filename_prefix": "noise", "seed": seed}
        return {**made, "9": node("JTSaveNoise", image=["1", 0], **inputs)}

    async def saved(kind: str, seed: int) -> bytes:
        prompt_id = await posted(comfy, noise(kind, seed))
        outputs = (await comfy.until_in_history(prompt_id))["outputs"]
        assert isinstance(outputs, dict)
        return (await comfy.http.get("/view", params=outputs["9"]["images"][0])).content

    first, second, video = await saved("png", 1), await saved("png", 2), await saved("mp4", 1)

    shown = Image.open(BytesIO(first)).convert("RGB")
    assert shown.size == (512, 1998)
    assert first != second
    assert all(abs(len(one) - 3000 * 1024) < 4096 for one in (first, second, video))
    assert video[4:8] == b"ftyp"
