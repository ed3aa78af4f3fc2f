"""A recorded session with a real ComfyUI 0.3.64, one of tests/data/transcripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "data" / "transcripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))

Record = dict[str, Any]


class Recording:
    def __init__(self, name: str) -> None:
        self.name = name
        lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
        self.records: list[Record] = [json.loads(line) for line in lines]
        self._responses = {r["id"]: r for r in self.records if r["dir"] == "http-response"}
        self._requests = {r["id"]: r for r in self.records if r["dir"] == "http-request"}

    def response_to(self, request: Record) -> Record:
        return self._responses[request["id"]]

    def request_of(self, response: Record) -> Record:
        return self._requests[response["id"]]

    def history_after(self, time_s: float, prompt_id: str) -> dict[str, Any] | None:
        """Return the history entry that was recorded for the prompt next after `time_s`."""
        for record in self._responses.values():
            body = record.get("body")
            is_history = self.request_of(record)["path"].startswith("/history")
            if (
                is_history
                and record["t"] >= time_s
                and isinstance(body, dict)
                and prompt_id in body
            ):
                return dict(body[prompt_id])
        return None


def opened_client(note: Record) -> str | None:
    """Return the client_id of a note that says that a websocket was opened with one."""
    found = re.search(r"opened: GET /ws\?clientId=(\w+)", note["text"])
    return found[1] if found else None


def binary_frame(record: Record) -> bytes:
    """Rebuild a binary frame, whose recording keeps its head and its length."""
    if record["event_type"] == 4:
        metadata = json.dumps(record["metadata"]).encode()
        head = (4).to_bytes(4, "big") + len(metadata).to_bytes(4, "big") + metadata
        return (head + bytes.fromhex(record["image_head_hex"])).ljust(record["length"], b"\0")
    return bytes.fromhex(record["head_hex"]).ljust(record["length"], b"\0")
