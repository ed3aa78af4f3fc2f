"""Plays a recording to the real adapter and writes down what the adapter made of it."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from everfold.runner.backend import Attempt
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.comfyui.socket import SocketObservation
from tests.comfyui.recordings.recorded_state import RecordedState
from tests.comfyui.recordings.recording import Record, Recording, binary_frame, opened_client
from tests.comfyui.recordings.replay_server import HeldAnswer, ReplayServer, until
from tests.comfyui.recordings.story import Story


class Replay:
    """One pass through one recording. Each prompt is submitted and watched by the adapter."""

    def __init__(self, recording: Recording, server: ReplayServer, backend: ComfyBackend) -> None:
        self.recording = recording
        self.server = server
        self.backend = backend
        self.stories: dict[str, Story] = {}
        self.boot = ""
        self._label_of_client: dict[str, str] = {}
        """Which recorded socket the adapter's sockets of a client_id stand for: the newest."""
        self._client_of_label: dict[str, str] = {}
        self._state = RecordedState(recording, server)
        self._observations: dict[str, SocketObservation] = {}
        self._watchers: dict[str, anyio.CancelScope] = {}
        self._held: dict[int, tuple[Story, HeldAnswer]] = {}
        self._stop = anyio.Event()

    async def run(self) -> dict[str, Story]:
        boot = await self.backend.boot()
        assert isinstance(boot, str)
        self.boot = boot
        async with anyio.create_task_group() as group:
            for record in self.recording.records:
                await self._play(record, group)
            await self._finish()
        return self.stories

    async def _play(self, record: Record, group: TaskGroup) -> None:
        match record["dir"]:
            case "note":
                await self._play_note(record, group)
            case "http-request" if (record["method"], record["path"]) == ("POST", "/prompt"):
                await self._submit(record, group)
            case "http-request" if record["method"] == "POST":
                await self._cancel(record)
            case "http-response":
                await self._play_response(record)
            case "ws-recv":
                await self._play_frame(record)

    # Notes: what the recorder did.

    async def _play_note(self, note: Record, group: TaskGroup) -> None:
        text, label = note["text"], note.get("ws", "")
        if "opened: GET /ws" in text:
            await self._open(label, opened_client(note) or self._first_sid(label), group)
        elif text.startswith("raw socket: full body sent"):
            await self._submit_and_lose_answer(note["prompt_id"])
        elif text.startswith("raw socket: body cut in half"):
            await self._submit_half(note["prompt_id"])
        elif "message too big" in text:
            await self._send_what_was_too_big(self._client_of_label[label])
        elif "dropped by client" in text or note.get("code") == 1006:
            client_id = self._client_of_label.get(label, "")
            if self._label_of_client.get(client_id) == label and self.server.is_up:
                self.server.drop(client_id)
        elif text in ("server process is gone", "server process died"):
            await self.server.stop()
            await self.ask_truth()
        elif text.startswith("server answers HTTP again"):
            await self.server.start()
            await self.ask_truth()

    async def _send_what_was_too_big(self, client_id: str) -> None:
        """The recorder's limit cut the connection at a message of 2 MiB; the adapter has none."""
        (prompt_id,) = self.stories
        node = "2"
        output = {"text": ["x" * 2**21]}
        ending: list[tuple[str, dict[str, Any]]] = [
            ("executed", {"node": node, "display_node": node, "output": output}),
            ("execution_success", {"timestamp": 1795405758954}),
            ("executing", {"node": None}),
        ]
        label = self._label_of_client[client_id]
        for kind, data in ending:
            message = {"type": kind, "data": {**data, "prompt_id": prompt_id}}
            await self._play_frame({"ws": label, "t": 99.0, "msg": message})

    async def _open(self, label: str, client_id: str, group: TaskGroup) -> None:
        self._client_of_label[label] = client_id
        self._label_of_client[client_id] = label
        for story in self.stories.values():
            if story.attempt.client_id == client_id:
                await self._observe(story, group)
        await self._wait_for_sockets(client_id)

    async def _wait_for_sockets(self, client_id: str) -> None:
        watched = [
            prompt_id
            for prompt_id in self._observations
            if self.stories[prompt_id].attempt.client_id == client_id
        ]
        await until(
            lambda: len(self.server.sockets[client_id]) == len(watched),
            f"{len(watched)} sockets of {client_id} are open",
        )

    def _first_sid(self, label: str) -> str:
        """Return the client_id that the server invented for a socket without one."""
        for record in self.recording.records:
            if record["dir"] == "ws-recv" and record["ws"] == label:
                return str(record["msg"]["data"]["sid"])
        raise AssertionError(f"socket {label} never got a status")

    # Submits.

    async def _submit(self, request: Record, group: TaskGroup) -> None:
        body, response = request["body"], self.recording.response_to(request)
        sent = body if isinstance(body, dict) else {}
        if (
            "client_id" not in sent
            and self._label_of_client
            and isinstance(sent.get("prompt"), dict)
        ):
            return  # somebody else's prompt, which the adapter only overhears
        answered = response["body"] if isinstance(response["body"], dict) else {}
        prompt_id = sent.get("prompt_id") or answered.get("prompt_id", f"post {request['id']}")
        graph = sent.get("prompt", {}) if isinstance(body, dict) else body
        workflow = graph.encode() if isinstance(graph, str) else json.dumps(graph).encode()
        story = self._story(str(prompt_id), sent.get("client_id", uuid4().hex), workflow)
        await self._begin_submit(story, request["id"], group)

    def _story(self, prompt_id: str, client_id: str, workflow: bytes) -> Story:
        attempt = Attempt(job_id="job-1", number=1, prompt_id=prompt_id, client_id=client_id)
        self._state.know(prompt_id, workflow)
        return self.stories.setdefault(prompt_id, Story(attempt, workflow))

    async def _begin_submit(self, story: Story, request_id: int, group: TaskGroup) -> None:
        if story.attempt.client_id in self._label_of_client:
            await self._observe(story, group)
            await self._wait_for_sockets(story.attempt.client_id)
        held = self.server.expected_posts[story.attempt.prompt_id] = HeldAnswer()
        self._held[request_id] = (story, held)
        group.start_soon(self._post, story)
        before = len(story.submits)
        await until(lambda: held.arrived or len(story.submits) > before, "the POST has arrived")

    async def _post(self, story: Story) -> None:
        outcome = await self.backend.submit(story.attempt, story.workflow, lambda: True)
        story.submits.append(outcome)

    async def _submit_and_lose_answer(self, prompt_id: str) -> None:
        entry = self.recording.history_after(0.0, prompt_id)
        assert entry is not None
        story = self._story(prompt_id, uuid4().hex, json.dumps(entry["prompt"][2]).encode())
        held = self.server.expected_posts[prompt_id] = HeldAnswer()
        held.status = 0
        held.released.set()
        await self._post(story)

    async def _submit_half(self, prompt_id: str) -> None:
        story = self._story(prompt_id, uuid4().hex, b'{"1":{"class_type":"X","inputs":{}}}')
        outcome = await self.backend.submit(story.attempt, story.workflow, lambda: False)
        story.submits.append(outcome)
        await until(lambda: self.server.cut_posts == 1, "the server saw a cut body")

    async def _observe(self, story: Story, group: TaskGroup) -> None:
        if story.attempt.prompt_id in self._observations:
            return
        ready = anyio.Event()
        group.start_soon(self._watch, story, ready)
        await ready.wait()

    async def _watch(self, story: Story, ready: anyio.Event) -> None:
        async with self.backend.observe(story.attempt, story.workflow) as observation:
            self._observations[story.attempt.prompt_id] = observation
            ready.set()
            with anyio.CancelScope() as scope:
                self._watchers[story.attempt.prompt_id] = scope
                await story.watch(observation)
            await self._stop.wait()

    # Answers: what the server then knew.

    async def _play_response(self, response: Record) -> None:
        request = self.recording.request_of(response)
        if response["id"] in self._held:
            await self._answer_submit(response)
        elif response.get("status") is None:
            await self.server.stop()
            await self.ask_truth()
        elif request["path"] == "/queue":
            self._state.learn_queue(request, response)
            await self.ask_truth()
        elif request["path"].startswith("/history"):
            self._state.learn_history(request, response)
            await self.ask_truth()

    async def _answer_submit(self, response: Record) -> None:
        story, held = self._held[response["id"]]
        before = len(story.submits)
        held.status, held.body = response["status"], response["body"]
        held.released.set()
        await until(
            lambda: len(story.submits) > before or not held.arrived, "the submit has returned"
        )
        prompt_id = story.attempt.prompt_id
        if held.arrived:
            self._state.accept(prompt_id, response)

    async def _cancel(self, request: Record) -> None:
        """Let the adapter do what the recorder did by hand: interrupt, or delete from the queue."""
        body = request["body"] or {}
        if request["path"] == "/interrupt":
            # Without an id it hit whatever ran: that is the one that was meant.
            running = [item[1] for item in self.server.running]
            wanted = [body["prompt_id"]] if body.get("prompt_id") else running
        else:
            wanted = body.get("delete", []) if request["path"] == "/queue" else []
        for prompt_id in wanted:
            attempt = Attempt(job_id="job-1", number=1, prompt_id=prompt_id, client_id="c")
            await self.backend.cancel(attempt)

    # Frames: what the server said, and what it thereby admits to know.

    async def _play_frame(self, record: Record) -> None:
        label = record["ws"]
        client_id = self._client_of_label[label]
        if record.get("binary"):
            frame: str | bytes = binary_frame(record)
        else:
            frame = json.dumps(record["msg"])
            self._state.follow(record)
        if self._label_of_client[client_id] == label:
            await self.server.send(client_id, frame)

    # The adapter's judgement.

    async def ask_truth(self) -> None:
        for story in self.stories.values():
            if story.submits:
                story.learn(await self.backend.truth(story.attempt.prompt_id, self.boot))

    async def _finish(self) -> None:
        """Let the adapter read every frame that was sent, then ask for the last truth."""
        for client_id in {self.stories[p].attempt.client_id for p in self._observations}:
            for socket in list(self.server.sockets[client_id]):
                await socket.close()
            # The reader connects again only after it has read the old socket to its end.
            await self._wait_for_sockets(client_id)
        for prompt_id, observation in self._observations.items():
            self._watchers[prompt_id].cancel()
            await self.stories[prompt_id].look(observation, 0.0)
        await self.ask_truth()
        self._stop.set()
