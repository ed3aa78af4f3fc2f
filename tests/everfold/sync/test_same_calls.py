"""Whatever the asyncio client offers, the other one has: same arguments, same words."""

from __future__ import annotations

import inspect

import pytest

from everfold import AssetStore, Batch, Everfold, OpenOutput, sync

PAIRS: list[tuple[type, type]] = [
    (Everfold, sync.Everfold),
    (Batch, sync.Batch),
    (AssetStore, sync.AssetStore),
    (OpenOutput, sync.OpenOutput),
]
OTHERWISE = {
    (Everfold, "connect"): "everfold.sync.connect",
    (AssetStore, "keys_of"): "where the records are: nothing to call",
    (AssetStore, "keys_of_owner"): "where the records are: nothing to call",
}

CALLS = [
    pytest.param(theirs, ours, name, id=f"{theirs.__name__}.{name}")
    for theirs, ours in PAIRS
    for name, value in inspect.getmembers(theirs)
    if not name.startswith("_") and callable(value) and (theirs, name) not in OTHERWISE
]


@pytest.mark.parametrize(("theirs", "ours", "name"), CALLS)
def test_each_call_has_the_same_arguments_and_words(theirs: type, ours: type, name: str) -> None:
    call, other = getattr(theirs, name), getattr(ours, name)

    assert inspect.getdoc(other) == inspect.getdoc(call)
    told = inspect.signature(other)
    _, *arguments = told.parameters.values()
    assert arguments == list(inspect.signature(call).parameters.values())[1:]
    assert "Async" not in str(told.return_annotation)
    assert not inspect.iscoroutinefunction(other)


def test_properties_are_there_too() -> None:
    for theirs, ours in PAIRS:
        of_theirs = {n for n, v in vars(theirs).items() if isinstance(v, property)}
        assert of_theirs <= {n for n, v in vars(ours).items() if isinstance(v, property)}


def test_connect_has_the_arguments_of_the_other_and_its_words() -> None:
    assert inspect.signature(sync.connect).parameters == (
        inspect.signature(Everfold.connect).parameters
    )
    doc, other = inspect.getdoc(sync.connect), inspect.getdoc(Everfold.connect)
    assert doc is not None
    assert other is not None
    assert other in doc
