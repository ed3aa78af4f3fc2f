"""Who may import whom: four packages, the rooms inside them, and what is pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.source_tree import (
    PACKAGES,
    Module,
    core_distributions,
    is_standard,
    modules,
    package_of,
    room_of,
)

SOURCES = modules(*PACKAGES)
TESTS_ONLY = ("tests", "benchmarks", "examples", "deploy")
RANK = {package: rank for rank, package in enumerate((*PACKAGES, *TESTS_ONLY))}

ROOMS = {
    "streams": "border telemetry errors closing private_folder events connections nodes redis "
    "layout sealing appending assets user_files queues leases reading live archive retention",
    "projector": "job config assignment folding reading projector subscribing",
    "runner": "loose_json capabilities costs backend config access renewal decisions comfyui "
    "adapters fleet telemetry inputs outputs live execution claiming runner",
    "everfold": "event_text tracing moments durations policy_settings workflow_file "
    "contract timeline simulator embedded settings sinks webhooks buckets archives assets "
    "job_story erasing changed_graph shown_jobs submit_check submitting operations why "
    "queue_operations rerunning many_jobs retention health diagnosis client sync testing demo "
    "listening metrics web commands __main__",
}
"""The rooms of each package; each may import those before it in its line."""

PURE = {
    "everfold.streams.errors",
    "everfold.streams.events.checks",
    "everfold.streams.events.codec",
    "everfold.streams.events.event",
    "everfold.streams.events.record",
    "everfold.streams.redis.keys",
    "everfold.streams.redis.partition_keys",
    "everfold.streams.nodes.tags",
    "everfold.streams.nodes.slots",
    "everfold.streams.assets.blob_store",
    "everfold.streams.leases.fairness",
    "everfold.streams.appending.outcomes",
    "everfold.projector.job.evolve",
    "everfold.projector.job.job",
    "everfold.projector.job.state",
    "everfold.runner.backend",
    "everfold.runner.decisions.decide",
    "everfold.runner.comfyui.graph",
    "everfold.runner.loose_json",
    "everfold.runner.comfyui.messages",
    "everfold.runner.comfyui.node_errors",
    "everfold.runner.comfyui.progress",
    "everfold.runner.comfyui.truth",
    "everfold.simulator.nodes.shapes",
}
"""Modules without clock, randomness and I/O, besides those whose docstring says so."""

CLAIMS = ("rule: pure", "no clock, no randomness, no i/o")
"""A docstring with one of these makes its module one of the pure ones."""

PURE_STANDARD = {
    "__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "collections", "copy",
    "dataclasses", "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq",
    "hmac", "html", "itertools", "json", "math", "operator", "re", "string", "struct",
    "textwrap", "types", "typing", "unicodedata",
    "urllib.parse", "uuid.UUID", "uuid.uuid5", "zlib", "datetime.timedelta", "contextlib",
}  # fmt: skip

WIRES = {"everfold.runner.runner"}
"""Where a runner gets its default backend."""


def leftward_imports(module: Module) -> list[str]:
    """Return what it imports from packages that stand to its left, or from tests."""
    own = RANK[module.package]
    return [name for name in module.imports() if RANK.get(package_of(name), 0) > own]


def climbing_imports(module: Module) -> list[str]:
    """Return what it imports from rooms of its own package that stand above its own."""
    rooms = ROOMS[module.package].split()
    own = _floor(module.name, rooms) if module.room in rooms else len(rooms)
    return [
        name
        for name in module.imports()
        if name.startswith("everfold.")
        and package_of(name) == module.package
        and _floor(name, rooms) > own
    ]


def _floor(name: str, rooms: list[str]) -> int:
    room = room_of(name)
    return rooms.index(room) if room in rooms else -1


def impure_imports(module: Module, pure: set[str]) -> list[str]:
    """Return what a pure module may not import."""
    return [name for name in module.imports() if not _is_pure(name, pure)]


def _is_pure(imported: str, pure: set[str]) -> bool:
    allowed = PURE_STANDARD | pure | {"msgspec"}
    return any(prefix in allowed for prefix in _prefixes(imported))


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


def _claims_purity(module: Module) -> bool:
    return any(claim in module.docstring.lower() for claim in CLAIMS)


@cache
def all_pure() -> set[str]:
    return PURE | {module.name for module in SOURCES if _claims_purity(module)}


def breaches(
    check: Callable[[Module], list[str]], among: Iterable[Module] = SOURCES
) -> dict[str, list[str]]:
    """Return what a check finds, by module; an empty dictionary when all is well."""
    return {module.name: found for module in among if (found := check(module))}


def test_imports_go_to_the_right_only() -> None:
    assert breaches(leftward_imports) == {}


def test_inside_a_package_imports_go_down_only() -> None:
    assert breaches(climbing_imports) == {}


def test_every_room_stands_in_the_order() -> None:
    found: dict[str, set[str]] = {package: set() for package in PACKAGES}
    for module in SOURCES:
        if module.name not in {"everfold", *(f"everfold.{package}" for package in PACKAGES)}:
            found[module.package].add(module.room)

    assert found == {package: set(rooms.split()) for package, rooms in ROOMS.items()}


def test_pure_modules_import_nothing_that_knows_time_chance_or_the_world() -> None:
    pure = [module for module in SOURCES if module.name in all_pure()]

    assert {module.name for module in pure} == all_pure()
    assert breaches(lambda module: impure_imports(module, all_pure()), pure) == {}


def test_the_core_needs_its_declared_dependencies_only() -> None:
    ours = {"everfold", *core_distributions()}

    def foreign(module: Module) -> list[str]:
        names = (name for name in module.imports() if not is_standard(name))
        return [name for name in names if name.partition(".")[0] not in ours]

    assert breaches(foreign, [m for m in SOURCES if m.package != "everfold"]) == {}


def test_backends_never_touch_redis() -> None:
    def touching(module: Module) -> list[str]:
        names = list(module.imports())
        streams = [name for name in names if name.startswith("everfold.streams")]
        allowed = all_pure() | {"everfold.streams.border.logger"}
        impure = [name for name in streams if not _is_pure(name, allowed)]
        return impure + [name for name in names if name.partition(".")[0] == "redis"]

    adapters = [m for m in SOURCES if m.name.startswith("everfold.runner.comfyui")]
    assert breaches(touching, adapters) == {}


def test_the_runner_knows_backends_only_by_their_protocol() -> None:
    def knowing(module: Module) -> list[str]:
        return [name for name in module.imports() if name.startswith("everfold.runner.comfyui")]

    others = [m for m in SOURCES if m.package == "runner" and m.room != "comfyui"]
    assert breaches(knowing, [m for m in others if m.name not in WIRES]) == {}


def test_no_other_distribution_ships_our_top_level_names() -> None:
    owners = packages_distributions()

    assert [
        name for name in (*PACKAGES, *TESTS_ONLY) if owners.get(name, []) not in ([], ["everfold"])
    ] == []


# The checks themselves.


def test_a_leftward_import_is_found_wherever_it_hides() -> None:
    text = (
        "def f():\n    from everfold.runner import x\n"
        "import everfold.streams.redis.keys\nif 0:\n    import tests.support"
    )
    module = Module("everfold.projector.job.fold", text)

    assert leftward_imports(module) == ["everfold.runner.x", "tests.support"]


def test_an_import_up_the_rooms_is_found() -> None:
    text = (
        "from everfold.streams.retention import trimming\n"
        "from everfold.streams.events.codec import decode\nimport everfold.streams.errors"
    )
    module = Module("everfold.streams.redis.scripts", text)

    assert climbing_imports(module) == ["everfold.streams.retention.trimming"]


def test_a_relative_import_is_resolved() -> None:
    text = "from . import graph\nfrom ..backend import Backend"
    inside = Module("everfold.runner.comfyui.truth", text)
    package = Module("everfold.runner.comfyui", "from . import graph", is_package=True)

    assert list(inside.imports()) == [
        "everfold.runner.comfyui.graph",
        "everfold.runner.backend.Backend",
    ]
    assert list(package.imports()) == ["everfold.runner.comfyui.graph"]


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import random",
        "from uuid import uuid4",
        "from datetime import datetime",
        "import redis",
        "import anyio",
        "from everfold.streams.appending.log import Log",
        "import os",
    ],
)
def test_what_is_not_pure_is_found(line: str) -> None:
    module = Module("everfold.streams.events.event", line)

    assert len(impure_imports(module, {"everfold.streams.redis.keys"})) == 1


def test_what_is_pure_passes() -> None:
    text = (
        "import re\nfrom uuid import uuid5\nimport msgspec\n"
        "from everfold.streams.redis.keys import Keyspace"
    )
    module = Module("everfold.streams.events.event", text)

    assert impure_imports(module, {"everfold.streams.redis.keys"}) == []
