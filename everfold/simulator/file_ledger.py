"""The record of the files that nodes have written, with their hashes, so that tests can compare.

Rule: a simulated restart keeps it; with a file it survives the process, too. A picture that is sent
over the websocket and written nowhere has a row, too, of type `websocket`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from everfold.simulator.nodes.folders import Folders

FileRow = dict[str, object]


class FileLedger:
    """One row per written file, in the order of writing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[FileRow] = []
        if path is not None and path.exists():
            self.rows = [json.loads(line) for line in path.read_text().splitlines()]

    def wrote(self, prompt_id: str, ui: Mapping[str, object] | None, folders: Folders) -> None:
        """Add a row for each file that a node reports in its output; reads the files."""
        for value in (ui or {}).values():
            for reference in value if isinstance(value, list) else ():
                if isinstance(reference, dict) and "filename" in reference:
                    self._wrote_file(prompt_id, reference, folders)

    def _wrote_file(self, prompt_id: str, file: dict[str, str], folders: Folders) -> None:
        path = folders.find(file["type"], file["subfolder"], file["filename"])
        if path is not None:
            told = {name: file[name] for name in ("filename", "subfolder", "type")}
            content_hash = blake3().update_mmap(path) if path.stat().st_size else blake3()
            self._add({"prompt_id": prompt_id, **told}, content_hash, path.stat().st_size)

    def sent(self, prompt_id: str, node: str, content: bytes) -> None:
        """Add a row for a picture that was sent over the websocket."""
        row: FileRow = {"prompt_id": prompt_id, "filename": node, "subfolder": ""}
        self._add({**row, "type": "websocket"}, blake3(content), len(content))

    def _add(self, row: FileRow, content_hash: blake3, size_bytes: int) -> None:
        row |= {"hash": f"blake3:{content_hash.hexdigest()}", "size_bytes": size_bytes}
        self.rows.append(row)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
