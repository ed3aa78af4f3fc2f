from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.source_tree import (
    PACKAGES,
    Module,
    core_distributions,
    is_standard,
    modules,
)

SOURCES = modules(*PACKAGES)
RANK = {package: rank for rank, package in enumerate(PACKAGES)}

PURE = {
    "streams.checks",
    "streams.codec",
    "streams.errors",
    "streams.events",
    "streams.fairness",
    "streams.keys",
    "streams.outcomes",
    "streams.record",
    "streams.upcast",
    "projector.evolve",
    "projector.job",
    "projector.state",
    "everfold.simulator.catalogue",
    "runner.backend",
    "runner.comfyui.graph",
    "runner.comfyui.history",
    "runner.comfyui.loose_json",
    "runner.comfyui.messages",
    "runner.comfyui.node_errors",
    "runner.comfyui.progress",
    "runner.comfyui.queue",
    "runner.decide",
}
"""Modules without clock, randomness and I/O, besides those whose docstring says so."""

CLAIMS = ("rule: pure", "no clock, no randomness, no i/o")
"""A docstring with one of these makes its module one of the pure ones."""

PURE_STANDARD = {
    "__future__", "abc", "ast", "base64", "binascii", "bisect", "collections", "copy",
    "dataclasses", "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq",
    "hmac", "html", "itertools", "json", "math", "operator", "re", "string", "struct",
    "textwrap", "types", "typing", "unicodedata",
    "urllib.parse", "uuid.UUID", "uuid.uuid5", "zlib", "datetime.timedelta", "contextlib",
}  # fmt: skip

WIRES = {"runner.runner"}
"""Where a runner gets its default backend."""

TESTS_ONLY = {"tests", "benchmarks", "examples", "deploy"}


def leftward_imports(module: Module) -> list[str]:
    """Return what it imports from packages that stand to its left, or from tests."""
    ranks = {**RANK, **dict.fromkeys(TESTS_ONLY, len(RANK))}
    own = ranks[module.package]
    return [name for name in module.imports() if ranks.get(name.partition(".")[0], 0) > own]


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


ALL_PURE = PURE | {module.name for module in SOURCES if _claims_purity(module)}


def _by_name(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", SOURCES, ids=_by_name)
def test_imports_go_to_the_right_only(module: Module) -> None:
    assert leftward_imports(module) == []


@pytest.mark.parametrize("module", [m for m in SOURCES if m.name in ALL_PURE], ids=_by_name)
def test_pure_modules_import_nothing_that_knows_time_chance_or_the_world(module: Module) -> None:
    assert impure_imports(module, ALL_PURE) == []


@pytest.mark.parametrize("module", [m for m in SOURCES if m.package != "everfold"], ids=_by_name)
def test_the_core_needs_its_declared_dependencies_only(module: Module) -> None:
    ours = {*PACKAGES, *core_distributions()}
    foreign = {name for name in module.imports() if not is_standard(name)}

    assert {name for name in foreign if name.partition(".")[0] not in ours} == set()


@pytest.mark.parametrize(
    "module", [m for m in SOURCES if m.name.startswith("runner.comfyui")], ids=_by_name
)
def test_backends_never_touch_redis(module: Module) -> None:
    streams_modules = [name for name in module.imports() if name.startswith("streams")]

    assert [name for name in streams_modules if not _is_pure(name, ALL_PURE)] == []
    assert [name for name in module.imports() if name.partition(".")[0] == "redis"] == []


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in SOURCES
        if m.package == "runner" and "comfyui" not in m.name and m.name not in WIRES
    ],
    ids=_by_name,
)
def test_the_runner_knows_backends_only_by_their_protocol(module: Module) -> None:
    assert [name for name in module.imports() if name.startswith("runner.comfyui")] == []


def test_a_pure_part_exists() -> None:
    assert {"streams.events", "streams.keys"} <= {m.name for m in SOURCES} & ALL_PURE


@pytest.mark.parametrize("package", [*PACKAGES, *sorted(TESTS_ONLY)])
def test_no_other_distribution_ships_our_top_level_names(package: str) -> None:
    assert packages_distributions().get(package, []) in ([], ["everfold"])


# The checks themselves.


def test_a_leftward_import_is_found_wherever_it_hides() -> None:
    text = (
        "def f():\n    from runner import x\nimport streams.keys\nif 0:\n    import tests.support"
    )

    assert leftward_imports(Module("projector.fold", text)) == ["runner.x", "tests.support"]


def test_a_relative_import_is_resolved() -> None:
    inside = Module("runner.comfyui.queue", "from . import graph\nfrom ..backend import Backend")
    package = Module("runner.comfyui", "from . import graph", is_package=True)

    assert list(inside.imports()) == ["runner.comfyui.graph", "runner.backend.Backend"]
    assert list(package.imports()) == ["runner.comfyui.graph"]


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import random",
        "from uuid import uuid4",
        "from datetime import datetime",
        "import redis",
        "import anyio",
        "from streams.log import Log",
        "import os",
    ],
)
def test_what_is_not_pure_is_found(line: str) -> None:
    assert len(impure_imports(Module("streams.events", line), {"streams.keys"})) == 1


def test_what_is_pure_passes() -> None:
    text = "import re\nfrom uuid import uuid5\nimport msgspec\nfrom streams.keys import Keyspace"

    assert impure_imports(Module("streams.events", text), {"streams.keys"}) == []
