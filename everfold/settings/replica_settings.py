"""How many replicas must have what is acknowledged, as environment and config file say it.

Rule: a value that makes no sense is refused with a sentence, as by the options of commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from everfold.durations import duration_s
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.redis.replicas import NONE, Replicas, ReplicasFor

REPLICA_KEYS = ("replicas", "replicas_within", "replicas_for")


def set_replicas(values: Mapping[str, str], environ: Mapping[str, str]) -> Replicas:
    """Return what variables say, such as EVERFOLD_REPLICAS, else a file by its keys.

    Raises Misconfigured.
    """
    count, within, events = (
        environ.get(f"EVERFOLD_{key.upper()}") or values.get(key) for key in REPLICA_KEYS
    )
    try:
        return NONE.asked(
            None if count is None else _number(count),
            None if within is None else duration_s(within) or -1.0,
            cast("ReplicasFor | None", events),
        )
    except InvalidName as error:
        raise Misconfigured(f"{error} (EVERFOLD_REPLICAS, EVERFOLD_REPLICAS_WITHIN)") from error


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() and len(text) < 10 else -1


def text_of(key: str, value: object, file: str) -> str:
    """Return a value of the file as text. Raises Misconfigured for one of another type."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise Misconfigured(f"{file}: `{key}` at the top must be a number or a text")
