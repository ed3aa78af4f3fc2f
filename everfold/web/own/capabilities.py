"""GET /capabilities: node classes and model files that some servers have and others lack.

Rule: what a server says of itself is data. SERVERS_LIMIT unlike servers are compared, and
DIFFERENCES_LIMIT differences are told; of more the number is.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response

from everfold.runner.capabilities.capability_store import stored_capabilities
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.streams.leases.backends import BackendEntry, backend_entries
from everfold.web.bodies import json_answer
from everfold.web.comfyui.server.models import LOADERS
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, check_sees_all
from everfold.web.query import Query

SERVERS_LIMIT = 24
DIFFERENCES_LIMIT = 1_000
NODES = "node class"

Item = tuple[str, str]
"""Kind and name of something that a server has."""


class Compared(Struct, frozen=True, kw_only=True):
    """One server of the comparison."""

    name: str
    address: str
    is_known: bool
    """False where nobody knows what it has, or more unlike servers are there than are compared."""
    classes: int
    models: int


class Difference(Struct, frozen=True, kw_only=True):
    """Something that some servers have and others lack."""

    kind: str
    """node class, or the folder of a model file, such as checkpoints."""
    name: str
    has: tuple[int, ...]
    """Places in `servers` of those that have it."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What the servers have, compared."""

    servers: list[Compared]
    common_classes: int
    """Node classes that all known servers have."""
    common_models: int
    differences: list[Difference]
    differences_besides: int


async def get_capabilities(call: Call) -> Response:
    """Compare what the servers have."""
    check_sees_all(call.caller)
    Query(call.request, ())
    log, known = call.gateway.everfold.log, dict[str, frozenset[Item]]()
    servers = [one for one in await backend_entries(log) if one.is_configured]
    for one in sorted({server.object_info for server in servers} - {""})[:SERVERS_LIMIT]:
        info = await stored_capabilities(log, one)
        if info is not None:
            known[one] = items_of(info)
    servers.sort(key=lambda one: (one.title, one.name))
    return json_answer(compared(servers, known))


def items_of(info: ObjectInfo) -> frozenset[Item]:
    """Return the node classes of a server, and the model files that its loaders list."""
    found = {(NODES, name) for name in info.classes}
    for folder, inputs in LOADERS.items():
        for class_type, name in inputs:
            node_class = info.classes.get(class_type)
            given = node_class.inputs.get(name) if node_class else None
            if given is not None and given.choices is not None:
                found |= {(folder, one) for one in info.names[given.choices]}
    return frozenset(found)


def compared(servers: Sequence[BackendEntry], known: dict[str, frozenset[Item]]) -> Capabilities:
    """Return the comparison; `known` has what servers have by its content hash."""
    sets = list(known.values())
    common = frozenset.intersection(*sets) if sets else frozenset[Item]()
    differing = sorted(frozenset[Item]().union(*sets) - common)
    nothing = frozenset[Item]()
    has = [known.get(one.object_info, nothing) for one in servers]
    return Capabilities(
        servers=[
            Compared(
                name=one.title or one.name,
                address=one.name,
                is_known=one.object_info in known,
                classes=_count(items, is_class=True),
                models=_count(items, is_class=False),
            )
            for one, items in zip(servers, has, strict=True)
        ],
        common_classes=_count(common, is_class=True),
        common_models=_count(common, is_class=False),
        differences=[
            Difference(
                kind=kind,
                name=name,
                has=tuple(place for place, items in enumerate(has) if (kind, name) in items),
            )
            for kind, name in differing[:DIFFERENCES_LIMIT]
        ],
        differences_besides=max(0, len(differing) - DIFFERENCES_LIMIT),
    )


def _count(items: frozenset[Item], *, is_class: bool) -> int:
    return sum((kind == NODES) == is_class for kind, _ in items)


CAPABILITIES: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/capabilities", answer=get_capabilities,
        name="compare_servers", role="reader", answers={200: Capabilities},
        summary="Compare the servers: node classes and model files that not all of them have.",
    ),
)  # fmt: skip
