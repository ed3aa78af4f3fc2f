"""Executes one prompt: the order of its nodes, its messages, its end.

Rule: the order and the fields of the messages are those of the recordings: progress_state,
executing, [progress_state, progress]*, executed, progress_state per node.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import traceback
from collections.abc import Callable, Mapping

import anyio

from everfold.simulator.faults import Faults
from everfold.simulator.file_ledger import FileLedger
from everfold.simulator.nodes.folders import Folders
from everfold.simulator.nodes.node import Inputs, Interrupted, Node, OutOfMemory, Result
from everfold.simulator.nodes.shapes import InputFile
from everfold.simulator.queue import Item
from everfold.simulator.sockets import Sockets
from everfold.simulator.validation import links

SENDS = ("SaveImageWebsocket", "ETN_SendImageWebSocket", "SwarmSaveImageWS")
"""The node classes whose previews are their outputs."""

OOM_ADVICE = (
    "\nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before "
    "you might have accidentally set the batch_size to a large number."
)


class Cache:
    """Results of the last graph's nodes, by a digest of the node and all its ancestors."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}

    def keep_only(self, signatures: set[str]) -> None:
        """Drop all results but those with these signatures."""
        self.results = {key: self.results[key] for key in signatures if key in self.results}


class Run:
    def __init__(
        self,
        item: Item,
        sockets: Sockets,
        folders: Folders,
        nodes: Mapping[str, Node],
        cache: Cache,
        faults: Faults,
        speed: float,
        take_interrupt: Callable[[], bool],
        files: FileLedger,
    ) -> None:
        _, self.prompt_id, self._graph, extra_data, self._outputs, _ = item
        client = extra_data.get("client_id")
        self.client = client if isinstance(client, str) else None
        self.folders = folders
        self._nodes, self._extra_data = nodes, extra_data
        self._sockets, self._cache, self._faults, self._speed = sockets, cache, faults, speed
        self._take_interrupt = take_interrupt
        self._written = files
        self._node = ""
        self._signed: dict[str, str] = {}
        self._states: dict[str, dict[str, object]] = {}
        self._executed: list[str] = []
        self.messages: list[list[object]] = []
        self.ui: dict[str, dict[str, object]] = {}
        self.outcome = "success"

    async def run(self) -> None:
        """Execute the prompt; afterwards `outcome` is success, error or interrupted."""
        await self._tell("execution_start", {"prompt_id": self.prompt_id})
        order = self._order()
        signatures = self._signed = self._signatures()
        self._cache.keep_only(set(signatures.values()))
        cached = [node for node in order if signatures[node] in self._cache.results]
        await self._tell("execution_cached", {"nodes": cached, "prompt_id": self.prompt_id})
        for node in order:
            if node in cached:
                await self._from_cache(node, self._cache.results[signatures[node]])
            elif not await self._node_runs(node):
                return
        await self._tell("execution_success", {"prompt_id": self.prompt_id})

    def _order(self) -> list[str]:
        """Return the nodes that the outputs need, each one after its sources.

        Raises KeyError when any node of the graph has no inputs: an orphan like that ends
        ComfyUI's worker.
        """
        for node in self._graph.values():
            node["inputs"]
        order: list[str] = []

        def visit(node_id: str) -> None:
            if node_id in order:
                return
            for link in links(self._graph[node_id]).values():
                visit(link.source)
            order.append(node_id)

        for output in self._outputs:
            visit(output)
        return order

    def _signatures(self) -> dict[str, str]:
        found: dict[str, str] = {}

        def sign(node_id: str) -> str:
            if node_id not in found:
                node = self._graph[node_id]
                below = {name: sign(link.source) for name, link in links(node).items()}
                told = json.dumps([node["class_type"], node["inputs"], below, self._files(node)])
                if node["class_type"] in SENDS:
                    told += self.prompt_id  # it is executed each time: nobody has its pictures
                # A digest: texts within texts would double with each level of the graph.
                found[node_id] = hashlib.sha256(told.encode()).hexdigest()
            return found[node_id]

        for output in self._outputs:
            sign(output)
        return found

    def _files(self, node: dict[str, object]) -> list[str]:
        """Return the digests of the uploaded files that a node reads."""
        inputs = node["inputs"]
        assert isinstance(inputs, dict)
        required = self._node_of(node).required
        names = [inputs[name] for name, (kind, _) in required.items() if kind == InputFile()]
        paths = [self.folders.upload(str(name)) for name in names]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path is not None]

    def _node_of(self, node: dict[str, object]) -> Node:
        return self._nodes[str(node["class_type"])]

    async def _from_cache(self, node: str, result: Result) -> None:
        if not self._node_of(self._graph[node]).is_output:
            return
        if result.ui is not None:
            self.ui[node] = result.ui
        data = {"node": node, "display_node": node, "output": result.ui or None}
        await self._sockets.send(self.client, "executed", {**data, "prompt_id": self.prompt_id})
        await self._state(node, 1, 1, "finished")

    async def _node_runs(self, node: str) -> bool:
        """Run one node; False when the prompt ended with it."""
        self._node = node
        try:
            self._check_interrupt()
            await self._state(node, 0.0, 1.0, "running")
            await self._executing(node)
            result = await self._node_of(self._graph[node]).action(self, self._inputs(node))
        except Interrupted:
            await self._interrupted(node)
        except Exception as error:
            await self._failed(node, error)
        else:
            self._cache.results[self._signed[node]] = result
            await self._done(node, result)
            return True
        return False

    def _inputs(self, node: str) -> Inputs:
        given = self._graph[node]["inputs"]
        assert isinstance(given, dict)
        results = self._cache.results
        values = {
            name: results[self._signed[source]].values[slot]
            for name, (source, slot) in links(self._graph[node]).items()
        }
        return {**given, **values}

    async def _done(self, node: str, result: Result) -> None:
        self._executed.append(node)
        await asyncio.to_thread(self._written.wrote, self.prompt_id, result.ui, self.folders)
        if result.ui:
            self.ui[node] = result.ui
            data = {"node": node, "display_node": node, "output": result.ui}
            await self._sockets.send(self.client, "executed", {**data, "prompt_id": self.prompt_id})
        last = self._states[node]
        await self._state(node, last["max"], last["max"], "finished")

    async def _executing(self, node: str) -> None:
        self._sockets.executing_node, self._sockets.executing_client = node, self.client
        data = {"node": node, "display_node": node, "prompt_id": self.prompt_id}
        await self._sockets.send(self.client, "executing", data)

    async def _interrupted(self, node: str) -> None:
        self.outcome = "interrupted"
        data = {
            "prompt_id": self.prompt_id,
            "node_id": node,
            "node_type": self._graph[node]["class_type"],
            "executed": self._executed,
        }
        await self._tell("execution_interrupted", data, spray=True)

    async def _failed(self, node: str, error: Exception) -> None:
        self.outcome = "error"
        is_oom = isinstance(error, OutOfMemory)
        message = f"{error}{OOM_ADVICE}" if is_oom else f"{error}\n"
        data = {
            "prompt_id": self.prompt_id,
            "node_id": node,
            "node_type": self._graph[node]["class_type"],
            "executed": self._executed,
            "exception_message": message,
            "exception_type": "torch.OutOfMemoryError" if is_oom else type(error).__name__,
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {},
            "current_outputs": list(self._graph),
        }
        await self._tell("execution_error", data)

    async def _tell(self, kind: str, data: Mapping[str, object], *, spray: bool = False) -> None:
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.messages.append([kind, data])
        send = self._sockets.spray if spray else self._sockets.send
        await send(self.client, kind, data)

    async def _state(self, node: str, value: object, most: object, state: str) -> None:
        self._states[node] = {
            "value": value,
            "max": most,
            "state": state,
            "node_id": node,
            "prompt_id": self.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        data = {"prompt_id": self.prompt_id, "nodes": self._states}
        await self._sockets.spray(self.client, "progress_state", data)

    def _check_interrupt(self) -> None:
        if self._take_interrupt():
            raise Interrupted

    # What a node may use while it runs.

    @property
    def png_texts(self) -> dict[str, str]:
        """The graph, and what the client sent as `extra_pnginfo`, as JSON."""
        added = self._extra_data.get("extra_pnginfo")
        texts = {"prompt": self._graph, **(added if isinstance(added, dict) else {})}
        return {str(key): json.dumps(value) for key, value in texts.items()}

    async def sleep(self, seconds: float, *, deaf: bool = False) -> None:
        """Take time, divided by `speed`. Raises Interrupted at the end, unless `deaf`."""
        await self._faults.while_stalled()
        await anyio.sleep(seconds / self._speed)
        if not deaf:
            self._check_interrupt()

    async def progress(self, value: int, most: int) -> None:
        """Send both messages of a progress step. Raises Interrupted."""
        await self._state(self._node, float(value), float(most), "running")
        data = {"value": value, "max": most, "prompt_id": self.prompt_id, "node": self._node}
        await self._sockets.spray(self.client, "progress", data)
        self._check_interrupt()

    async def preview(self, image: bytes, kind: int) -> None:
        """Send a preview of the node that runs."""
        if self._graph[self._node]["class_type"] in SENDS:
            self._written.sent(self.prompt_id, self._node, image)
        await self._sockets.preview(self.client, image, kind, self._node, self.prompt_id)

    async def text(self, text: str) -> None:
        """Send a text of the node that runs."""
        await self._sockets.text(self.client, self._node, text)
