"""Plays the client of a recorded session again, before a gateway in the place of the server.

Rule: it does what the recorded client did, each act once the messages that came before it in the
recording have come here. Ids are translated: those of prompts are the gateway's own.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx

from tests.comfyui.recordings.recording import Record, Recording
from tests.support.programs.stack import Comfy
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import Message, SocketClient, connected

SETTLED_WITHIN_S = 60.0
IN_VAIN_S = 10.0
"""For messages of which some never come."""
STREAMED = ("progress", "progress_state", "status", "binary")
"""What is not compared one by one."""
LIFE = (
    *("execution_start", "execution_cached"),
    *("execution_success", "execution_error", "execution_interrupted"),
)
VARYING = (
    *("timestamp", "traceback", "current_inputs", "current_outputs", "sid"),
    "max_upload_size",
)
JOB_FOLDER = re.compile(r'"subfolder": "[0-9a-f]{8}-[0-9a-f-]{27}/?')
COUNTER = re.compile(r"(temp_)[a-z]{5}_|\d{5}_")

Row = tuple[Any, ...]


class Replay:
    """What came of one session: to be compared with its recording.

    Where `lacks` says that some messages never come here, they are waited for in vain once.
    """

    def __init__(
        self, recording: Recording, url: str, comfy: Comfy, *, lacks: bool = False
    ) -> None:
        self.recording = recording
        self._lacks = lacks
        self._missing: dict[str, int] = {}
        """Socket -> how many messages had not come when they were waited for in vain."""
        self._url, self._comfy = url, comfy
        self.prompts: dict[str, str] = {}
        """Recorded prompt id -> the gateway's."""
        self._sids: dict[str, str] = {}
        """Recorded id of a client that chose none -> the gateway's."""
        self.sockets: dict[str, SocketClient] = {}
        self._closing: dict[str, contextlib.AsyncExitStack] = {}
        self.answers: list[tuple[str, int | None, int]] = []
        """Each request with the status that was recorded, and the one that came here."""

    async def play(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            for at, record in enumerate(self.recording.records):
                match record["dir"]:
                    case "note":
                        await self._settle(at)
                        await self._note(record["text"])
                    case "ws-send":
                        await self.sockets[record["ws"]].connection.send(json.dumps(record["msg"]))
                    case "http-request":
                        await self._settle(at)
                        await self._ask(http, record)
            await self._settle(len(self.recording.records))
            for name in list(self._closing):
                await self._close(name)

    async def _note(self, text: str) -> None:
        words = text.split()
        if opened := re.match(r"ws (\w+) opened: GET /ws(?:\?clientId=(\w+))?", text):
            exits = self._closing[opened[1]] = contextlib.AsyncExitStack()
            client = await exits.enter_async_context(connected(self._url, opened[2]))
            self.sockets[opened[1]] = client
            self._sids[self._sid_of(opened[1])] = client.messages[0][1]["sid"]
        elif re.match(r"ws \w+ (closed$|dropped by client)", text):
            await self._close(words[1])
        elif text.startswith("killing server"):
            self._comfy.kill()
        elif text == "starting server":
            await self._comfy.up()

    def _sid_of(self, name: str) -> str:
        told = (data["sid"] for _, data in self.recorded(name) if "sid" in data)
        return next(told, "none")

    async def _close(self, name: str) -> None:
        exits = self._closing.pop(name, None)
        if exits is not None:
            await exits.aclose()

    async def _ask(self, http: httpx.AsyncClient, record: Record) -> None:
        answer = self.recording.response_to(record)
        path, body = self._translated(record["path"]), self._translated(record["body"])
        if path.startswith("/upload"):
            return  # the recording does not have the file
        sent = {} if body is None else {"json": body}
        found = await http.request(record["method"], path, **sent)
        self.answers.append(
            (f"{record['method']} {record['path']}", answer.get("status"), found.status_code)
        )
        told = answer.get("body")
        if isinstance(told, dict) and "prompt_id" in told and found.status_code == 200:
            self.prompts[told["prompt_id"]] = found.json()["prompt_id"]

    def _translated(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._translated(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._translated(item) for item in value]
        if isinstance(value, str):
            for there, here in (*self.prompts.items(), *self._sids.items()):
                value = value.replace(there, here)
        return value

    async def _settle(self, until: int) -> None:
        """Wait for what had come by then in the recording."""
        for name in list(self._closing):
            rows = list(self._recorded(name, until))
            wanted = len([row for row in rows if row[0] not in STREAMED])
            steps = any(row[0] == "progress" for row in rows)
            client, missing = self.sockets[name], self._missing.get(name)
            try:
                known = missing is not None
                within_s = IN_VAIN_S if self._lacks else SETTLED_WITHIN_S
                steps = steps and not known
                await _until(client, wanted - (missing or 0), within_s, steps=steps)
            except AssertionError:
                if self._lacks:
                    self._missing[name] = wanted - _compared(client)

    def _recorded(self, name: str, until: int) -> Iterator[Message]:
        for record in self.recording.records[:until]:
            if record["dir"] != "ws-recv" or record["ws"] != name:
                continue
            if record.get("binary"):
                yield "binary", record
            elif isinstance(record.get("msg"), dict):
                yield record["msg"]["type"], record["msg"]["data"]

    def recorded(self, name: str) -> list[Message]:
        """Return what a socket was sent in the recording."""
        return list(self._recorded(name, len(self.recording.records)))

    def life(self, name: str, *, is_recorded: bool) -> dict[str, list[Row]]:
        """Return what was said of each prompt as a whole, in order."""
        return self._grouped(name, of_nodes=False, is_recorded=is_recorded)

    def per_node(self, name: str, *, is_recorded: bool) -> dict[str, list[Row]]:
        """Return what was said of each node of each prompt, in order: which of two independent
        nodes comes first, a server decides each time."""
        return self._grouped(name, of_nodes=True, is_recorded=is_recorded)

    def _grouped(self, name: str, *, of_nodes: bool, is_recorded: bool) -> dict[str, list[Row]]:
        found = self.recorded(name) if is_recorded else self.sockets[name].messages
        ids = list(self.prompts) if is_recorded else list(self.prompts.values())
        grouped: dict[str, list[Row]] = {}
        for kind, data in found:
            node = data.get("node")
            is_of_node = kind not in LIFE and node is not None
            if kind not in STREAMED and is_of_node == of_nodes:
                prompt = ids.index(data["prompt_id"]) if data.get("prompt_id") in ids else "?"
                of = f"{prompt} {node}" if of_nodes else f"{prompt}"
                grouped.setdefault(of, []).append((kind, shape(data, ids)))
        return grouped

    def queue(self, name: str, *, is_recorded: bool) -> list[int]:
        """Return how many jobs remained, each number once in a row."""
        found = self.recorded(name) if is_recorded else self.sockets[name].messages
        numbers = [
            data["status"]["exec_info"]["queue_remaining"]
            for kind, data in found
            if kind == "status"
        ]
        return [n for at, n in enumerate(numbers) if at == 0 or n != numbers[at - 1]]


async def _until(client: SocketClient, wanted: int, within_s: float, *, steps: bool) -> None:
    """Wait for so many messages that are compared, and for a step."""

    def has_come() -> bool:
        has_steps = any(kind == "progress" for kind, _ in client.messages)
        return _compared(client) >= wanted and (has_steps or not steps)

    await eventually(has_come, within_s)


def _compared(client: SocketClient) -> int:
    return len([kind for kind, _ in client.messages if kind not in STREAMED])


def shape(data: dict[str, Any], ids: list[str]) -> str:
    """Return a message without what differs between any two runs."""
    told = {name: value for name, value in data.items() if name not in VARYING}
    if isinstance(told.get("output"), dict):
        told["output"] = {k: v for k, v in told["output"].items() if k != "text"}
    if str(told.get("exception_type")).endswith("OutOfMemoryError"):
        del told["executed"]  # it is tried again, and what had run is then in the cache
    if "executed" in told:
        told["executed"] = sorted(told["executed"], key=lambda node: (len(node), node))
    if isinstance(told.get("exception_message"), str):
        told["exception_message"] = told["exception_message"].strip()
    text = JOB_FOLDER.sub('"subfolder": "', json.dumps(told, sort_keys=True))
    for number, prompt_id in enumerate(ids):
        text = text.replace(f'"{prompt_id}"', f'"<{number}>"')
    return COUNTER.sub(r"\1#_", text)
