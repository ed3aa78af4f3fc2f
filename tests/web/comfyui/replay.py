"""Sends again what a recording of a real ComfyUI was sent over HTTP, and collects what is answered.

Rule: ids are those of this run. What has an entry in the recorded history has ended before it is
compared; an interrupt comes while its prompt runs. Nodes that hear one sleep a tenth of their time.
"""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import unquote

import httpx
from msgspec import Struct

from tests.comfyui.recordings.recording import Record, Recording
from tests.support.wait import eventually

WITHIN_S = 30.0
UNKNOWN = ("/upload/image",)
"""Of these the recordings have no body."""


class Answered(Struct, frozen=True):
    """One request of a recording, with both answers to it."""

    request: Record
    recorded: Record
    status: int
    body: Any

    @property
    def told(self) -> str:
        """Method, path without ids, and number of the request."""
        path = self.request["path"].split("?")[0].split("/")
        return f"{self.request['method']} /{path[1]} #{self.request['id']}"


class Replay:
    """One recording, sent by one client."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self.recording, self._client = Recording(name), client
        self.answered = list[Answered]()
        self._ids = dict[str, str]()
        """Prompt id of the recording -> ours."""

    async def run(self) -> list[Answered]:
        """Send all requests in their order."""
        for record in self.recording.records:
            is_request = record["dir"] == "http-request"
            if is_request and record["path"] not in UNKNOWN and self._has_answer(record):
                await self._send(record)
        return self.answered

    def _has_answer(self, request: Record) -> bool:
        try:
            return bool(self.recording.response_to(request))
        except KeyError:
            return False

    async def _send(self, request: Record) -> None:
        recorded = self.recording.response_to(request)
        answer = await self._as_then(request, recorded)
        try:
            body = answer.json() if answer.content else None
        except ValueError:
            body = answer.text
        self.answered.append(Answered(request, recorded, answer.status_code, body))
        was = recorded.get("body")
        if isinstance(was, dict) and isinstance(body, dict) and "prompt_id" in body:
            self._ids[str(was.get("prompt_id"))] = str(body["prompt_id"])

    async def _as_then(self, request: Record, recorded: Record) -> httpx.Response:
        """Send a request once the gateway is where the server was."""
        was, path = recorded.get("body"), unquote(request["path"])
        if path == "/interrupt" and (running := self._runs_at(request)):
            with contextlib.suppress(AssertionError):  # it has ended, which is seen later
                await eventually(lambda: self._is_running(running), 10.0)
        answer = [await self._once(request)]
        if request["method"] == "GET" and path.startswith("/history") and isinstance(was, dict):
            prompt_ids = [self._ids[then] for then in was if then in self._ids]

            async def have_ended() -> bool:
                answer[0] = await self._once(request)
                return bool(set(prompt_ids) <= answer[0].json().keys())

            with contextlib.suppress(AssertionError):  # it is compared, and the difference told
                await eventually(have_ended, WITHIN_S if prompt_ids else 0.0)
        return answer[0]

    def _runs_at(self, request: Record) -> str:
        """Return our id of the prompt that ran, or was about to, when this was sent."""
        started = ""
        for record in self.recording.records:
            if record["t"] > request["t"]:
                break
            message = record.get("msg") or {}
            data = message.get("data") or {} if isinstance(message, dict) else {}
            if message.get("type") == "execution_start":
                started = data["prompt_id"]
            if message.get("type") == "executing" and data.get("node") is None:
                started = ""
        return self._ids.get(started, "")

    async def _is_running(self, prompt_id: str) -> bool:
        queue = (await self._client.get("/queue")).json()
        return prompt_id in [item[1] for item in queue["queue_running"]]

    async def _once(self, request: Record) -> httpx.Response:
        body, path = request["body"], request["path"]
        for then, now in self._ids.items():
            if len(then) > 30:
                path = path.replace(then, now)
        if request["method"] == "GET":
            return await self._client.get(path)
        if isinstance(body, str):
            return await self._client.post(path, content=body.encode())
        return await self._client.post(path, json=self._with_ids(body))

    def _with_ids(self, value: Any) -> Any:
        if isinstance(value, dict):
            is_asleep = value.get("class_type") == "JTSleepProgress"
            given = {key: self._with_ids(one) for key, one in value.items()}
            if is_asleep:
                given["inputs"]["seconds"] /= 10
            return given
        if isinstance(value, list):
            return [self._with_ids(one) for one in value]
        return self._ids.get(value, value) if isinstance(value, str) and len(value) > 30 else value
