"""Reads what no event tells: servers, runners, how many jobs wait, pauses, and why jobs wait.

Rule: what others read, too, is read once for all (`Sampled`); each read has a bounded cost.
"""

from __future__ import annotations

from collections import OrderedDict

from everfold.client import Everfold
from everfold.metrics.sampled import Sampled
from everfold.runner.capabilities.capability_store import stored_capabilities
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.streams.leases.backends import backend_entries
from everfold.streams.queues.queue_control import paused_queues
from everfold.streams.redis.server import server_time_ms
from everfold.web.comfyui.server.models import LOADERS
from everfold.web.farm.members import FarmSample
from everfold.web.farm.reasons import reasons_of

INFOS_KEPT = 64
"""Unlike servers whose models are counted; of others the number is not known."""


class FarmSampling:
    """Reads samples of one farm."""

    def __init__(self, everfold: Everfold, sampled: Sampled) -> None:
        self._everfold, self._sampled = everfold, sampled
        self._models: OrderedDict[str, int] = OrderedDict()

    async def read(self) -> FarmSample:
        """Return a sample. Raises a leaf of Unavailable."""
        log = self._everfold.log
        read = await self._sampled.queues()
        queues = read.by_name
        later, besides = await self._sampled.later()
        return FarmSample(
            at_ms=read.at_ms,
            now_ms=await server_time_ms(log.redis),
            queues=queues,
            later=later,
            later_besides=besides,
            pauses=await paused_queues(log),
            backends=await self._sampled.backends(),
            runners=await self._sampled.runners(),
            models=await self._model_counts(),
            reasons=await reasons_of(self._everfold, queues, sum(later.values()) + besides),
        )

    async def _model_counts(self) -> dict[tuple[str, str], int]:
        log, found = self._everfold.log, dict[tuple[str, str], int]()
        for entry in await backend_entries(log):
            known = self._models.get(entry.object_info)
            if known is None and entry.object_info and len(found) < INFOS_KEPT:
                info = await stored_capabilities(log, entry.object_info)
                known = None if info is None else models_in(info)
            if known is not None:
                self._models[entry.object_info] = known
                found[entry.name, entry.server] = known
                if len(self._models) > INFOS_KEPT:
                    self._models.popitem(last=False)
        return found


def models_in(info: ObjectInfo) -> int:
    """Return how many model files the loaders of a server list."""
    found = set[tuple[str, str]]()
    for folder, inputs in LOADERS.items():
        for class_type, name in inputs:
            node_class = info.classes.get(class_type)
            given = node_class.inputs.get(name) if node_class else None
            if given is not None and given.choices is not None:
                choices = info.lists[given.choices]
                found |= {(folder, one) for one in choices if isinstance(one, str)}
    return len(found)
