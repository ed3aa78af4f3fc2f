"""Old shapes are lifted one version at a time, and a shape that is not known is named."""

from __future__ import annotations

import pytest

from everfold.streams.events.codec import CURRENT_VERSION, UPCASTS, RawEvent, Upcast, upcast

VERSIONS = {"job.made": 3}
STEPS: dict[tuple[str, int], Upcast] = {
    ("job.made", 1): lambda raw: {**raw, "user": raw["owner"]},
    ("job.made", 2): lambda raw: {**raw, "priority": f"normal for {raw['user']}"},
}
OLD: RawEvent = {"type": "job.made", "v": 1, "owner": "ada"}


def test_each_version_is_lifted_through_all_that_follow() -> None:
    newest = {**OLD, "v": 3, "user": "ada", "priority": "normal for ada"}
    assert upcast(OLD, VERSIONS, STEPS) == newest
    assert upcast({**OLD, "v": 2, "user": "bob"}, VERSIONS, STEPS) == {
        **newest,
        "user": "bob",
        "priority": "normal for bob",
    }
    assert upcast(newest, VERSIONS, STEPS) == newest


def test_lifting_leaves_the_stored_event_as_it_was() -> None:
    stored = dict(OLD)
    upcast(stored, VERSIONS, STEPS)
    assert stored == OLD


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_step_is_named(missing: int) -> None:
    steps = {key: step for key, step in STEPS.items() if key != ("job.made", missing)}
    with pytest.raises(
        ValueError, match=f"version {missing} has no upcast to version {missing + 1}"
    ):
        upcast(OLD, VERSIONS, steps)


@pytest.mark.parametrize("version", [4, 10**30, "2", None, 1.5])
def test_a_version_that_is_not_known_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=f"schema version {version}; this Everfold knows up to 3"):
        upcast({**OLD, "v": version}, VERSIONS, STEPS)


def test_an_event_without_a_version_is_of_the_first() -> None:
    assert upcast({"type": "job.made", "owner": "ada"}, VERSIONS, STEPS)["v"] == 3


def test_every_old_version_has_its_step_today() -> None:
    needed = {(kind, v) for kind, newest in CURRENT_VERSION.items() for v in range(1, newest)}
    assert set(UPCASTS) == needed
