"""What is asked of many partitions goes through `each` or `Rounds`: one that does not answer must
not hold back the others."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import PACKAGES, Module, modules

SOURCES = modules(*PACKAGES)

NEEDS_ALL = {
    "streams/retention/importing.py:begin_import": "it begins where every partition is empty",
    "streams/assets/sweeping.py:_needed_by_jobs": "bytes may go when no partition names them",
    "streams/assets/sweeping.py:_delete": "bytes may go when no partition names them",
    "streams/assets/sweeping.py:_forgive": "undoes what `_delete` did, in its order",
    "streams/assets/sweeping.py:_forget_dooms": "a sweep that fails is begun again, by any runner",
    "streams/assets/listing.py:owner_uses": "pages of all partitions in turn, or an error",
    "streams/assets/listing.py:all_assets": "pages of all partitions in turn, or an error",
    "streams/assets/verifying.py:_miscounted": "compares what all partitions say",
    "projector/folding/rebuild.py:run": "goes on at the first partition that is not done",
    "projector/folding/parking.py:_find": "looks until it is found",
    "everfold/erasing/user_content.py:find": "an erasure is complete or an error",
    "everfold/web/own/moment/moments.py:_beginning": "a fold of all partitions, or an error",
    "everfold/web/own/kept/archive.py:get_archive": "reads the archive, for so long",
    "everfold/diagnosis/log_check.py:_bytes": "nothing is said where one is not known",
    "everfold/commands/diagnosis/stored_keys.py:wrong_keys": "one trip for the types of all keys",
    "everfold/commands/stream/export_file.py:export": "a file of all partitions, or an error",
    "everfold/commands/stream/archive.py:trim_log": "tells of each partition as it goes",
    "everfold/commands/stream/archive.py:readers": "tells of each partition as it goes",
}
"""Loops that wait for the server in one partition after the other, and why."""

WAITS = ast.Await | ast.AsyncFor | ast.AsyncWith


def _loops(function: ast.AST) -> Iterator[tuple[ast.expr, list[ast.AST]]]:
    """Yield what each loop goes over, and its body."""
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.AsyncFor):
            yield node.iter, [*node.body]
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            for part in node.generators:
                yield part.iter, [node.elt, *(one.iter for one in node.generators)]
        elif isinstance(node, ast.DictComp):
            yield node.generators[0].iter, [node.key, node.value]


def _is_over_partitions(goes_over: ast.expr) -> bool:
    text = ast.unparse(goes_over)
    return text.startswith("range(") and "partitions" in text


def plain_loops(module: Module) -> Iterator[str]:
    """Yield the functions that wait in a loop over partitions."""
    for node in module.definitions():
        if not isinstance(node, ast.AsyncFunctionDef):
            continue
        for goes_over, body in _loops(node):
            waits = any(isinstance(one, WAITS) for part in body for one in ast.walk(part))
            if _is_over_partitions(goes_over) and waits:
                yield node.name
                break


def test_no_loop_waits_for_partitions_in_turn_without_a_reason() -> None:
    found = {f"{m.path}:{name}" for m in SOURCES for name in plain_loops(m)}

    assert found - NEEDS_ALL.keys() == set()


def test_no_reason_is_left_of_a_loop_that_has_gone() -> None:
    found = {f"{m.path}:{name}" for m in SOURCES for name in plain_loops(m)}

    assert NEEDS_ALL.keys() - found == set()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("for p in range(log.keys.partitions):\n  await act(p)", ["f"]),
        ("return [await act(p) for p in range(log.keys.partitions)]", ["f"]),
        ("for p in range(log.keys.partitions):\n  names.append(p)", []),
        ("return (await each(log, act)).all()", []),
    ],
)
def test_a_plain_loop_is_found(body: str, found: list[str]) -> None:
    lines = "\n".join(f"  {line}" for line in body.splitlines())

    assert list(plain_loops(Module("x", f"async def f(log):\n{lines}\n"))) == found
