"""The worker: executes one prompt after another, until an error ends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

import anyio

from everfold.simulator.faults import Faults
from everfold.simulator.file_ledger import FileLedger
from everfold.simulator.ledger import Ledger
from everfold.simulator.nodes.folders import Folders
from everfold.simulator.nodes.node import Node
from everfold.simulator.queue import Item, PromptQueue, shown
from everfold.simulator.run import Cache, Run
from everfold.simulator.sockets import Sockets
from everfold.streams.border.logger import get_logger

logger = get_logger("everfold.simulator")

HISTORY_LAG_S = 0.005
"""As in ComfyUI, the history is written a little after execution_success was sent."""


class Worker:
    def __init__(
        self,
        queue: PromptQueue,
        sockets: Sockets,
        folders: Folders,
        nodes: Mapping[str, Node],
        ledger: Ledger,
        faults: Faults,
        speed: float,
        crash: Callable[[], None],
        files: FileLedger,
    ) -> None:
        self._queue, self._sockets, self._folders = queue, sockets, folders
        self._nodes = nodes
        self._ledger, self._faults, self._speed = ledger, faults, speed
        self._crash = crash
        self._files = files
        self._cache = Cache()
        self._interrupt = False
        self.is_dead = False

    def interrupt(self) -> None:
        """Set the flag; it is checked before each node and at each progress step."""
        self._interrupt = True

    def forget(self) -> None:
        """Drop cache and flags, as a restart does."""
        self._cache = Cache()
        self._interrupt = self.is_dead = False

    def _take_interrupt(self) -> bool:
        raised, self._interrupt = self._interrupt, False
        return raised

    async def run(self) -> None:
        """Execute prompts until cancelled."""
        while True:
            while self.is_dead or not self._queue.pending:
                await self._idle()
            try:
                await self._run_next()
            except (TypeError, KeyError) as error:
                # As in ComfyUI: the thread ends, HTTP goes on, nothing runs any more.
                logger.warning("worker_died error=%r", error)
                self.is_dead, self._queue.running = True, None

    async def _idle(self) -> None:
        with anyio.move_on_after(0.2):
            await self._queue.put_event.wait()

    async def _run_next(self) -> None:
        item = self._queue.take()
        await self._sockets.status(self._queue.remaining)
        self._interrupt = False
        row = item[5]
        self._ledger.started(row)
        run = Run(
            *(item, self._sockets, self._folders, self._nodes, self._cache),
            *(self._faults, self._speed, self._take_interrupt, self._files),
        )
        try:
            await run.run()
        except TypeError:
            if not _is_json(run.ui):
                self._crash()  # as ComfyUI's publish loop does, and the process with it
            raise
        self._ledger.ended(row, run.outcome)
        await self._finish(item, run)

    async def _finish(self, item: Item, run: Run) -> None:
        await anyio.sleep(HISTORY_LAG_S + self._faults.history_delay_s)
        self._queue.remember(run.prompt_id, _entry(item, run))
        self._queue.running = None
        self._sockets.executing_node = self._sockets.executing_client = None
        await self._sockets.status(self._queue.remaining)
        data = {"node": None, "prompt_id": run.prompt_id}
        await self._sockets.send(run.client, "executing", data)


def _entry(item: Item, run: Run) -> dict[str, object]:
    succeeded = run.outcome == "success"
    return {
        "prompt": shown(item),
        "outputs": run.ui,
        "status": {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": run.messages,
        },
        "meta": {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
            for node in run.ui
        },
    }


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def exit_at_once() -> None:
    """End the process, as ComfyUI ends when a message is not JSON."""
    os._exit(1)
