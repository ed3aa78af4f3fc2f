"""Queue and history, in memory only, with ComfyUI's own faults.

The queue is a heap of (number, prompt id, graph ...): two equal numbers with equal ids compare
their graphs and raise, as there. The history keeps 10,000 entries.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

import anyio

from everfold.runner.capabilities.node_check import Graph
from everfold.simulator.ledger import Row

HISTORY_LIMIT = 10_000

Item = tuple[float, str, Graph, dict[str, object], list[str], Row]


def shown(item: Item) -> list[object]:
    """Return an item as GET /queue and the history show it."""
    return list(item[:5])


class PromptQueue:
    def __init__(self) -> None:
        self.pending: list[Item] = []
        self.running: Item | None = None
        self.history: OrderedDict[str, dict[str, object]] = OrderedDict()
        self.number = 0
        self.put_event = anyio.Event()

    @property
    def remaining(self) -> int:
        """How many prompts are pending or running."""
        return len(self.pending) + (self.running is not None)

    def next_number(self, front: bool) -> int:
        """Return the next number of the counter, negative for the front."""
        number = -self.number if front else self.number
        self.number += 1
        return number

    def put(self, item: Item) -> None:
        """Queue an item. Raises TypeError, with the item queued, on comparing equal ones."""
        try:
            heapq.heappush(self.pending, item)
        finally:
            self.put_event.set()
            self.put_event = anyio.Event()

    def take(self) -> Item:
        """Return the next item. Raises TypeError, with the item lost, on comparing equal ones."""
        self.running = heapq.heappop(self.pending)
        return self.running

    def delete(self, prompt_id: str) -> bool:
        """Delete one pending item of this id."""
        for index, item in enumerate(self.pending):
            if item[1] == prompt_id:
                self.pending.pop(index)
                heapq.heapify(self.pending)
                return True
        return False

    def remember(self, prompt_id: str, entry: dict[str, object]) -> None:
        """Add an entry to the history; the oldest one beyond 10,000 goes."""
        if len(self.history) > HISTORY_LIMIT:
            self.history.popitem(last=False)
        self.history[prompt_id] = entry

    def forget_all(self) -> None:
        """Forget everything, as a restart does."""
        self.pending.clear()
        self.history.clear()
        self.running, self.number = None, 0
