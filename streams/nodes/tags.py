"""The hash tags of partitions: plain ones, and those that spread partitions evenly over a cluster.

Rule: pure. A namespace's tags are chosen when it is made and stored in its `meta`; whoever uses the
namespace reads them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import count

from everfold.streams.nodes.slots import SLOTS, slot_of

_SPREAD = re.compile(r"(.+):(\d{1,4})\.\d{1,9}")


def plain_tags(namespace: str, partitions: int) -> tuple[str, ...]:
    """Return the tags of a namespace on one server, without their braces."""
    return tuple(f"{namespace}:{partition}" for partition in range(partitions))


def spread_tags(namespace: str, partitions: int) -> tuple[str, ...]:
    """Return tags of which each lies in its own of `partitions` equal parts of the slots.

    However many masters share the slots evenly, each of them has an equal part of the partitions.
    """
    return tuple(_spread_tag(namespace, partition, partitions) for partition in range(partitions))


def _spread_tag(namespace: str, partition: int, partitions: int) -> str:
    tags: Iterable[str] = (f"{namespace}:{partition}.{k}" for k in count())
    return next(tag for tag in tags if _part_of(tag, partitions) == partition)


def _part_of(tag: str, partitions: int) -> int:
    return slot_of(tag) * partitions // SLOTS


def are_spread_tags(tags: Sequence[str], namespace: str, partitions: int) -> bool:
    """Say whether these can be the tags of a spread namespace: one of each partition. Where they
    lie is not compared: another program may have chosen them."""
    found = [_SPREAD.fullmatch(tag) for tag in tags]
    named = [(match[1], match[2]) for match in found if match]
    return len(named) == len(tags) and named == [(namespace, str(p)) for p in range(partitions)]
