"""What a client of the gateway sees, compared with recorded sessions of one real ComfyUI.

The same acts are made again, and the answers' status codes and the socket's messages compared:
those about a prompt as a whole and those about each of its nodes, all in order. Independent nodes
may run in another order, as on the server itself. Differences that are meant stand in the tables.
"""

from __future__ import annotations

import httpx
import pytest

from tests.comfyui.recordings.recording import NAMES, Recording
from tests.support.programs.stack import Comfy
from tests.support.wait import eventually
from tests.web.comfyui.socket.recorded_session import Replay
from tests.web.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

UNHURRIED = ("interrupt-targets-pending", "deleted-from-queue", "queue-of-5", "queue-cleared")
"""Recordings whose client does something while a prompt runs, and sees what comes of it."""

ALIKE = (
    ("success", "cached", "multi-outputs", "partially-valid", "big-message"),
    ("slow-with-progress", "slow-with-progress-preview-metadata"),
    ("interrupted", "interrupted-deaf-node", "interrupt-null-id-is-global"),
    UNHURRIED,
    ("ws-image-progress", "ws-without-client-id"),
    ("validation-error", "execution-error", "orphan-bad-link"),
    ("never-connected-ws-poll-history", "ws-connected-only-after-submit"),
    ("ws-dropped-and-reconnected-mid-run", "ws-dropped-reconnected-after-end"),
    ("two-clients", "two-sockets-same-client-id"),
)
"""Recordings that are played on one stack, in groups."""

ANSWERS = {
    ("success", "GET /view"): "the file has the job's folder here",
    ("validation-error", "POST /prompt"): "a body that is no graph is a 400 here, never a 500",
}
"""Recording and request -> why its status is another one."""

MESSAGES = {
    "interrupted-deaf-node": "the server names the node that it did not begin any more",
    "big-message": "the recorded client ends at the first message over 1 MiB",
    "ws-dropped-and-reconnected-mid-run": "which messages come before is chance; the first "
    "`executing` of a new connection has its prompt here: test_socket, one who connects anew",
    "ws-connected-only-after-submit": "the same",
    "ws-dropped-reconnected-after-end": "which messages come before the drop is chance",
    "two-sockets-same-client-id": "both hear everything: test_socket_traffic",
    "two-clients": "prompts without a client are told to nobody",
}
"""Recording -> why its messages differ."""

QUEUE = {
    "queue-cleared": "what was cleared is counted down one by one",
    "big-message": "the recorded client ends before",
    "ws-dropped-and-reconnected-mid-run": "which messages come before the drop is chance",
    "ws-dropped-reconnected-after-end": "which messages come before the drop is chance",
    "ws-connected-only-after-submit": "which of them come before the connection is chance",
    "two-sockets-same-client-id": "both hear everything",
}
"""Recording -> why its queue is counted in other steps."""

ELSEWHERE = {
    "bad-ui-with-client": "the server dies of it: test_socket, a server that starts anew",
    "bad-ui-without-client": "an output that is no JSON: the runner's truth, tests/simulator",
    "duplicate-number-500": "`number` orders by its sign only: tests/web/comfyui/jobs",
    "history-ops": "its partner keys are too short to be any: tests/web/comfyui/jobs",
    "duplicate-prompt-id-submit": "one id is one job: tests/web/comfyui/jobs",
    "odd-prompt-ids": "an id is a UUID, as newer servers say: tests/web/comfyui/jobs",
    "server-crash-inside-node": "the job is run again: test_socket, a server that starts anew",
    "server-killed-mid-run-then-restarted": "test_socket: a server that starts anew",
    "server-sigterm-mid-run": "test_socket: a server that starts anew",
    "stalled-client": "test_socket_traffic: one who does not read holds nobody up",
    "submit-response-lost": "a submit is repeated with its id: tests/web/comfyui/jobs",
    "zombie-duplicate-number": "numbers never reach a server: tests/web/comfyui/jobs",
    "zombie-orphan-no-inputs": "such a graph is refused before: tests/web/comfyui/jobs",
}
"""What is about a server's death or a fault that the gateway does not have."""


def test_every_recording_is_compared_or_says_where_it_is() -> None:
    assert sorted([*(name for group in ALIKE for name in group), *ELSEWHERE]) == NAMES


async def knows_servers(site: Site) -> bool:
    """Say whether the gateway can tell which graphs its servers take."""
    async with httpx.AsyncClient(base_url=site.url) as http:
        return "SaveImage" in (await http.get("/object_info")).text


async def replayed(name: str, site: Site, comfy: Comfy) -> Replay:
    replay = Replay(Recording(name), site.url, comfy, lacks=name in MESSAGES)
    await replay.play()
    return replay


@pytest.mark.parametrize("group", ALIKE, ids=lambda group: group[0])
async def test_a_client_sees_what_it_saw_of_one_server(group: tuple[str, ...], site: Site) -> None:
    speed = "0.5" if group == UNHURRIED else "4"  # a busy machine takes its time for each act
    comfy = await site.stack.comfy("--speed", speed, *NO_MODELS)
    await site.stack.runner(comfy, assets=site.everfold.assets.url, slots=1)
    await site.stack.projector()
    await eventually(lambda: knows_servers(site), 20)
    for name in group:
        replay = await replayed(name, site, comfy)
        for asked, there, here in replay.answers:
            is_meant = any(name == of and asked.startswith(what) for of, what in ANSWERS)
            assert here == there or is_meant, (name, asked)
        for socket in replay.sockets:
            assert_same_messages(replay, name, socket)


NO_MODELS = ("--models", "checkpoints=")


def assert_same_messages(replay: Replay, name: str, socket: str) -> None:
    if name not in MESSAGES:
        life = replay.life(socket, is_recorded=False)
        assert life == replay.life(socket, is_recorded=True), (name, socket)
        nodes = replay.per_node(socket, is_recorded=False)
        assert nodes == replay.per_node(socket, is_recorded=True), (name, socket)
    if name not in QUEUE:
        queue = replay.queue(socket, is_recorded=False)
        assert queue == replay.queue(socket, is_recorded=True), (name, socket)
