"""What is to be said of a server's replicas: how many, how far behind, and whether they suffice.

Rule: pure. A server that says nothing is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from everfold.health.server_finding import ServerFinding
from everfold.streams.border.quantity import quantity

WHAT = "replication"
LAG_LIMIT_S = 5
"""A replica that was silent for so long is as good as none."""


class ReplicaState(Struct, frozen=True):
    """What a primary says of one replica."""

    address: str
    is_online: bool
    behind_bytes: int
    silent_s: int

    @property
    def is_good(self) -> bool:
        return self.is_online and self.silent_s < LAG_LIMIT_S

    def __str__(self) -> str:
        if not self.is_online:
            return f"{self.address} does not follow yet"
        if not self.is_good:
            return f"{self.address} has been silent for {self.silent_s} s"
        return f"{self.address} is {self.behind_bytes:,} bytes behind"


def replicas_of(info: Mapping[str, str]) -> list[ReplicaState]:
    """Return what INFO says of the replicas, lines that make no sense left out."""
    end, found = _whole(info.get("master_repl_offset", "")), list[ReplicaState]()
    for name, line in info.items():
        if not (name.startswith("slave") and name[5:].isdecimal()):
            continue
        said = dict(pair.partition("=")[::2] for pair in line.split(","))
        offset = _whole(said.get("offset", ""))
        found.append(
            ReplicaState(
                address=f"{said.get('ip', '?')}:{said.get('port', '?')}",
                is_online=said.get("state") == "online",
                behind_bytes=max(0, end - offset),
                silent_s=max(0, _whole(said.get("lag", ""))),
            )
        )
    return found


def replication_findings(
    info: Mapping[str, str], settings: Mapping[str, str], asked: int = 0, living: int = 0
) -> Iterator[ServerFinding]:
    """Yield what INFO and CONFIG say where writes wait for so many replicas as `asked`, and intents
    for one of those that are `living` by others' word."""
    if info.get("role") in ("slave", "replica"):
        to = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        link = info.get("master_link_status", "?")
        advice = f"name the primary ({to}) with REDIS_URL: a replica takes no writes"
        yield ServerFinding(WHAT, f"this is a replica of {to}, link {link}", advice, loses=True)
        return
    if "role" not in info:
        return
    replicas = replicas_of(info)
    if living and not asked and not any(one.is_good for one in replicas):
        found = (
            f"none of its {quantity(living, 'replica')} follows it; until then no prompt is sent"
        )
        advice = "bring one back, or set EVERFOLD_REPLICAS=0 for the runners until one is there"
        yield ServerFinding(WHAT, found, advice, stops=True)
    elif replicas or asked:
        yield _enough(replicas, settings, asked)
    least = settings.get("min-replicas-to-write", "0")
    if least not in ("", "0"):
        lag_s = settings.get("min-replicas-max-lag", "?")
        good = info.get("min_slaves_good_slaves", "?")
        needed = quantity(_whole(least), "replica")
        found = f"writes need {needed} heard of within {lag_s} s; {good} are"
        short = good.isdecimal() and int(good) < _whole(least)
        advice = "bring them back, or lower that number: all writes are refused" if short else ""
        yield ServerFinding("min-replicas-to-write", found, advice, stops=short)


def _enough(replicas: list[ReplicaState], settings: Mapping[str, str], asked: int) -> ServerFinding:
    good = sum(one.is_good for one in replicas)
    found = quantity(len(replicas), "replica") + "".join(f"; {one}" for one in replicas)
    if asked:
        found += f"; writes wait for {asked}"
    if good < asked:
        missing = quantity(asked - good, "more replica")
        advice = f"bring {missing} up: until then no job is taken or ended"
        return ServerFinding(WHAT, found, advice, stops=True)
    if asked and good == asked:
        advice = "add a replica: a failover stops writes, for the promoted one has one less"
        return ServerFinding(WHAT, found, advice, stops=True)
    advice = ""
    if not asked and settings.get("min-replicas-to-write") == "0":
        advice = (
            "set EVERFOLD_REPLICAS=1, or `min-replicas-to-write 1` and `min-replicas-max-lag 10` "
            "there: else a failover may lose what was acknowledged"
        )
    if not all(one.is_good for one in replicas):
        advice = "look at the replica that does not follow: it is no safety"
    return ServerFinding(WHAT, found, advice)


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0
