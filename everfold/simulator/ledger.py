"""The record of accepted and executed prompts, so that tests can count executions.

Rule: a simulated restart keeps it; with a file it survives the process, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, object]


class Ledger:
    """One row per accepted POST; each change of a row appends it to the file again."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[Row] = []
        self.cancels: list[str] = []
        """Prompt ids that somebody asked to cancel in one step."""
        self.uploads: list[Row] = []
        """Name, folder and size of each file that came whole."""
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        by_number: dict[int, Row] = {}
        for line in path.read_text().splitlines():
            row = json.loads(line)
            by_number[row["row"]] = row
        self.rows = [by_number[number] for number in sorted(by_number)]

    def accepted(
        self, prompt_id: str, number: float, extra_data: dict[str, object], keys: Sequence[str]
    ) -> Row:
        """Add the row of a prompt that was queued, and return it.

        `keys` are the names of the keys for partner nodes that came with it.
        """
        row: Row = {
            "row": len(self.rows),
            "prompt_id": prompt_id,
            "number": number,
            "client_id": extra_data.get("client_id"),
            "extra_data": {name: v for name, v in extra_data.items() if name not in keys},
            "partner_keys": list(keys),
            "accepted_at": time.time(),
            "started_at": None,
            "ended_at": None,
            "outcome": None,
        }
        self.rows.append(row)
        self._write(row)
        return row

    def started(self, row: Row) -> None:
        """Record that the worker took the prompt."""
        row["started_at"] = time.time()
        self._write(row)

    def ended(self, row: Row, outcome: str) -> None:
        """Record how the prompt ended: success, error, interrupted, or `server died`."""
        row["ended_at"], row["outcome"] = time.time(), outcome
        self._write(row)

    def _write(self, row: Row) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
