"""What is said of replicas, from what a server says of them."""

from __future__ import annotations

import pytest

from everfold.health.replication_findings import replicas_of, replication_findings

PRIMARY = {"role": "master", "master_repl_offset": "5000", "connected_slaves": "1"}


def replica(number: int, offset: int = 5000, lag: int = 0, state: str = "online") -> dict[str, str]:
    said = f"ip=10.0.0.{number},port=6379,state={state},offset={offset},lag={lag}"
    return {f"slave{number}": said}


@pytest.mark.parametrize(
    ("asked", "replicas", "stops", "words"),
    [
        (0, {}, False, ""),
        (0, replica(0), False, "1 replica"),
        (1, {}, True, "bring 1 more"),
        (1, replica(0), True, "a failover stops writes"),
        (1, replica(0) | replica(1), False, "2 replicas"),
        (1, replica(0) | replica(1, lag=9), True, "silent for 9 s"),
        (2, replica(0) | replica(1, state="wait_bgsave"), True, "does not follow yet"),
        (0, replica(0, offset=100), False, "4,900 bytes behind"),
    ],
)
def test_replicas_are_compared_with_what_is_asked_for(
    asked: int, replicas: dict[str, str], stops: bool, words: str
) -> None:
    found = list(replication_findings(PRIMARY | replicas, {}, asked))
    assert any(one.stops for one in found) is stops
    assert words in " ".join(f"{one.found} {one.advice}" for one in found)


@pytest.mark.parametrize(
    ("asked", "living", "replicas", "is_said"),
    [
        (0, 1, {}, True),
        (0, 1, replica(0, state="wait_bgsave"), True),
        (0, 1, replica(0), False),
        (0, 0, {}, False),
        (1, 1, replica(0), False),
    ],
)
def test_that_no_prompt_is_sent_is_told(
    asked: int, living: int, replicas: dict[str, str], is_said: bool
) -> None:
    found = list(replication_findings(PRIMARY | replicas, {}, asked, living))
    assert any("no prompt is sent" in one.found and one.stops for one in found) is is_said


def test_a_server_that_refuses_writes_for_want_of_replicas_is_told() -> None:
    settings = {"min-replicas-to-write": "1", "min-replicas-max-lag": "10"}
    for good, advice in (("0", "all writes are refused"), ("1", "")):
        info = PRIMARY | {"min_slaves_good_slaves": good}
        [finding] = replication_findings(info, settings)
        assert (finding.stops, advice in finding.advice) == (good == "0", True)


@pytest.mark.parametrize(
    "line", ["", "ip", "a=b=c", "offset=-1,lag=x", "state=online,offset=9" * 9]
)
def test_a_line_that_makes_no_sense_is_no_trouble(line: str) -> None:
    assert len(replicas_of({"slave0": line, "slaves": "x", "slave_priority": "100"})) == 1
    assert list(replication_findings({"role": "master", "slave0": line}, {}, 1))


def test_a_server_that_says_nothing_is_not_judged() -> None:
    assert list(replication_findings({}, {}, 1)) == []
